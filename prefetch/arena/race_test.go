//go:build race

package arena

// raceEnabled says that the arena is Go heap, resident and cleared from the start.
const raceEnabled = true
