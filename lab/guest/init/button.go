package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
)

// struct input_event of <linux/input.h> on a 64-bit machine: a time of 16 bytes,
// then type, code and value.
const (
	eventSize = 24
	evKey     = 1
	keyPower  = 116
)

// watchPowerButton sends on off when KEY_POWER is pressed on any input device.
// It returns at once.
func watchPowerButton(off chan<- struct{}) {
	paths, err := filepath.Glob("/dev/input/event*")
	if err != nil || len(paths) == 0 {
		say("vmferry guest has no power button")
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			say("vmferry guest: power button: " + err.Error())
			continue
		}
		go readButton(f, off)
	}
}

func readButton(f *os.File, off chan<- struct{}) {
	defer f.Close()
	buf := make([]byte, 16*eventSize)
	for {
		n, err := f.Read(buf)
		if err != nil {
			return
		}
		if powerPressed(buf[:n]) {
			select {
			case off <- struct{}{}:
			default: // requested already
			}
		}
	}
}

// powerPressed reports whether KEY_POWER goes down among the events.
func powerPressed(events []byte) bool {
	for ; len(events) >= eventSize; events = events[eventSize:] {
		kind := binary.NativeEndian.Uint16(events[16:])
		code := binary.NativeEndian.Uint16(events[18:])
		value := binary.NativeEndian.Uint32(events[20:])
		if kind == evKey && code == keyPower && value == 1 {
			return true
		}
	}
	return false
}
