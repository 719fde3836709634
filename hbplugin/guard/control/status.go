package control

// StatusReport is what a guard says of its cluster.
type StatusReport struct {
	Schema  int          `json:"schema"` // 1
	Cluster string       `json:"cluster"`
	Node    string       `json:"node"` // this one
	Phase   string       `json:"phase"`
	Why     string       `json:"why"`
	AgeMS   int64        `json:"lease_age_ms"` // 0 without a lease
	Nodes   []NodeReport `json:"nodes"`

	NoSecond bool `json:"no_second,omitempty"` // the process that kills the guests when the guard is silent does not run

	Prepared
}

// Prepared is what the guard's process got of its system, so that it kills in time.
type Prepared struct {
	RealTime bool `json:"real_time"`        // it runs before other processes
	Locked   bool `json:"locked"`           // its memory is never swapped out
	Destroys bool `json:"destroys_sockets"` // it can destroy the sockets of guests that ended
}

// NodeReport is one node, as its slot says.
type NodeReport struct {
	Name       string `json:"name"`
	State      string `json:"state"` // held, moving or surrendered
	Generation uint64 `json:"generation"`
	Member     bool   `json:"member"` // the cluster manager sees it
	Reached    int    `json:"reached"`
	Guests     int    `json:"guests"`
	SeenMS     int64  `json:"renewal_seen_ms"` // how long ago its last renewal was seen
	Expired    bool   `json:"expired"`
	Gone       bool   `json:"gone"`                  // its guests are proven gone
	WatchdogMS int64  `json:"watchdog_ms,omitempty"` // its hardware watchdog fires after this; 0: it has none
	NotShared  bool   `json:"not_shared,omitempty"`  // its lease device is another one than this node's
	Claim      string `json:"claim,omitempty"`       // this node's claim against it
	Claimed    string `json:"claimed,omitempty"`
}
