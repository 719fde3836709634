// Package game is a client of a real service: the Teeworlds 0.7 server in a guest of the lab, Debian's
// teeworlds-server, a game server with one thread and 50 ticks a second over UDP. [Watch] asks it for its
// description, as a server browser does, and measures the longest silence by the rule of package migrate/blackout.
//
// The protocol has no connection here. A client first asks for a token, which the server derives from the client's
// address and a seed of its own that changes every 16 s, and puts it into each request (src/engine/shared/network.h and
// network_token.cpp of Teeworlds). The server answers every such request, without a limit of their rate.
package game
