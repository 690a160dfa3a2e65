package discovery

// SoleHost chooses among a machine's addresses.
var SoleHost = soleHost
