// Package notes is the durable state of the resource agent: small JSON files in two directories of a node, one file for
// each resource. [Store] has all of them; each kind has a Go file here, with its type and its rules, which are pure.
//
// Below /run/vmferry, which ends with the boot:
//
//	folder       kind         says                                  written by      read by            removed by
//	resources/   Identity     the guest of a resource, seen last    each action     each action        nobody
//	guests/      Guest        the guest runs here                   start, monitor  agent, vmferryd    stop, migrate_to
//	expected/    Expected     the guest may come: announce it then  monitor, start  vmferryd           nobody
//	announced/   Announced    vmferryd announced the guest          vmferryd        start              nobody
//	departures/  Departure    the guest moved from here to a peer   migrate_to      start, migrate_to  start
//	utilization/ Utilization  attributes that are set in Pacemaker  monitor         monitor            stop, migrate_to
//	peers/       PeerGuests   the last answer of a peer's libvirt   start           start              nobody
//	current/     Current      the disks here are the current copy   start, monitor  start, monitor     nobody
//
// Below /var/lib/vmferry, which outlives it:
//
//	intents/     Intent       a migration began, its end is unknown migrate_to      start, stop        who finds the guest
//	stranded/    Failure      a migration of the guest has failed   migrate_to      stop               start, stop
//
// What is written, read or removed by start is so by migrate_from as well; the comment of each kind has the details.
//
// Locks are files too, see [Store.StartLock], [Store.PeerLock] and [Store.UtilizationLock].
//
// A note is a hint and no proof: what it says was true when it was written. Files are written to a temporary name,
// synced and renamed, so that a reader sees the old note or the new one. What other users put in the folders is no
// note.
//
// Other packages keep files in the same directories: migrate its records, its measurements of links and guests and its
// slots, migrate/disks the locks of disk images, hbplugin/shutdown whose standby it is, and resource/agentd its socket.
// The files of a saved guest are beside its disks, see resource/savedstate.
package notes
