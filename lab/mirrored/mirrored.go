package mirrored

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"embed"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io/fs"

	"github.com/vmferry/vmferry/lab/node"
)

// Disks is the folder of a node's own disks, as the node sees it.
const Disks = "/srv/guests"

//go:embed all:files
var files embed.FS

const wants = "etc/systemd/system/multi-user.target.wants/"

// Outfit is what nodes with a mirror have beyond others. All nodes of a lab must get the same one: each call draws
// another key.
func Outfit() (node.Outfit, error) {
	own, err := fs.Sub(files, "files")
	if err != nil {
		return node.Outfit{}, err
	}
	private, public, err := makeKey()
	if err != nil {
		return node.Outfit{}, err
	}
	return node.Outfit{
		Pace: node.Containers, Files: own,
		Values:  map[string]string{"Disks": Disks, "Private": private, "Public": public},
		Private: []string{"root/.ssh/id_ed25519"},
		Links: map[string]string{
			wants + "ssh.service":            "/usr/lib/systemd/system/ssh.service",
			wants + "vmferry-mirror.service": "/usr/lib/systemd/system/vmferry-mirror.service",
		},
	}, nil
}

// keyType is the only kind of key here, as RFC 8709 names it.
const keyType = "ssh-ed25519"

// makeKey draws a key pair, as ssh(1) of OpenSSH 9.6 or later reads the private key and a line of authorized_keys has the
// public one.
func makeKey() (private, public string, err error) {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", "", fmt.Errorf("make the lab's key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", fmt.Errorf("make the lab's key: %w", err)
	}
	var blob bytes.Buffer
	for _, field := range [][]byte{[]byte(keyType), pub} {
		blob.Write(binary.BigEndian.AppendUint32(nil, uint32(len(field))))
		blob.Write(field)
	}
	private = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return private, keyType + " " + base64.StdEncoding.EncodeToString(blob.Bytes()) + " vmferry-lab\n", nil
}
