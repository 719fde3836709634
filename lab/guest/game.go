package guest

import "path"

// What the game's initramfs has of a Debian tree, and where lab/guest/init finds it.
const (
	gameServer = "usr/games/teeworlds-server"
	gameMap    = "usr/share/games/teeworlds/data/maps/dm1.map"
)

// gameParts are Debian's teeworlds-server, with one map.
var gameParts = extra{
	what: "game server", folders: []string{"game", "game/maps"},
	programs: []file{{gameServer, "game/server"}},
	files:    []file{{gameMap, "game/maps/" + path.Base(gameMap)}},
}
