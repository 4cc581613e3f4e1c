// Package hostnet is what tmelink does to the host that it runs on: TAP devices,
// addresses, routes, bridge membership, forwarding switches and nftables, each
// act with its undo.
//
// Acts flow in and are written to a journal before they are done; the journal's
// entries, last first, are the undo. What would outlive a killed process is
// written into the kernel as well, as the comments of a table of the process's
// own: `nft list ruleset` shows it, it lives in the network namespace that it
// speaks of and dies with it, and the next process to start reads from it what
// to put back. Two processes that turn the same switch see each other's tables,
// and the last of them to go puts the switch back.
//
// No frame passes through this package, and it changes nothing that it was not
// asked for: what is already as wanted stays as it is, also at the end. It is
// for Linux; on other systems it is empty.
package hostnet
