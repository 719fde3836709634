package guest

// databaseParts are Debian's MariaDB, as lab/guest/init finds it: the server, and the client that init speaks through.
var databaseParts = extra{
	what: "database", folders: []string{"database"},
	programs: []file{{"usr/sbin/mariadbd", "database/server"}, {"usr/bin/mariadb", "database/client"}},
}
