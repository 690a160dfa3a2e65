package main

import (
	"fmt"
	"net/netip"
)

// whereUsersWent tells what the outage meant to the users, for a policy that
// sends all calls of a user to one server.
func whereUsersWent(calls []call, o outage) string {
	home := make(map[netip.Addr]string) // before the kill
	away := make(map[netip.Addr]bool)   // was answered elsewhere, ever
	last := make(map[netip.Addr]string)
	for _, c := range calls {
		switch {
		case c.at.Before(o.killed.at) && home[c.user] == "":
			home[c.user] = c.server
		case home[c.user] != "" && home[c.user] != c.server:
			away[c.user] = true
		}
		last[c.user] = c.server
	}
	var victims, back, others, moved int
	for user, server := range home {
		switch {
		case server != o.victim.id:
			others++
			if away[user] {
				moved++
			}
		default:
			victims++
			if last[user] == server {
				back++
			}
		}
	}
	return fmt.Sprintf("%d had server %s, of whom %d are back; of the other %d, %d ever moved", victims, o.victim.id, back, others, moved)
}
