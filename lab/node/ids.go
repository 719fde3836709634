package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ids are the accounts of an image: names to numbers.
type ids struct{ users, groups map[string]int }

// readIDs reads the accounts of the tree at root.
func readIDs(root string) (ids, error) {
	users, err := readNumbers(filepath.Join(root, "etc/passwd"))
	if err != nil {
		return ids{}, err
	}
	groups, err := readNumbers(filepath.Join(root, "etc/group"))
	return ids{users, groups}, err
}

// readNumbers reads the first and third field of a passwd(5) or group(5) file.
func readNumbers(path string) (map[string]int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the image's accounts: %w", err)
	}
	numbers := map[string]int{}
	for line := range strings.Lines(string(text)) {
		field := strings.Split(strings.TrimSpace(line), ":")
		if len(field) < 3 {
			continue
		}
		n, err := strconv.Atoi(field[2])
		if err != nil {
			continue
		}
		numbers[field[0]] = n
	}
	return numbers, nil
}

func (i ids) lookup(user, group string) (uid, gid int, err error) {
	uid, ok := i.users[user]
	if !ok {
		return 0, 0, fmt.Errorf("the image has no user %q", user)
	}
	gid, ok = i.groups[group]
	if !ok {
		return 0, 0, fmt.Errorf("the image has no group %q", group)
	}
	return uid, gid, nil
}
