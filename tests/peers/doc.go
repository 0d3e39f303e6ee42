// Command peers measures weightfs beside the tools that its users have today, on
// the same object, machine and store in one run, and writes a Markdown table and
// a plot.
//
// Mounts are read by the same readers; each sample has a new mount, a cache of
// its own that is empty, and a dropped page cache, and is then read once more,
// warm. Loaders that need no mount read the object from the store. Each sample
// is taken after one of a plain ranged-GET client, the line rate, so that what
// else the machine does falls on both.
//
// Requests and bytes are counted by a proxy before the store. On loopback it
// would take a part of the cores from what is measured, so that there they are
// counted in a first sample, whose time is thrown away.
//
// A peer that is not installed, fails or takes too long is a line of the table.
package main
