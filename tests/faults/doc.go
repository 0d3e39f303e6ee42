// Package faults holds the built programs against everything that can go wrong
// around them: a sick store, changing objects, signals and kills, odd names.
// "make faults" runs every case in full and says what was counted; "go test -short"
// runs it with small objects and short times.
//
// Each case has a mountd of its own before a fault-injecting proxy and a real
// S3 server, and reads in children only. After each, mountd must hold no lease,
// no open file and no fetch, end with exit 0 and leave nothing mounted.
//
// No verdict depends on how fast the machine is. What came before what is decided
// by answers that the proxy holds, and how often something happened by its log and
// by what mountd counts. A least time that somebody must wait is one that a busy
// machine can only make longer; a most is only there for one that hangs.
package faults
