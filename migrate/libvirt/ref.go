package libvirt

import "strings"

// uuidLength is that of a UUID in its dashed form.
const uuidLength = 36

// Ref is what to give a method of a connection in place of a domain's name, where the UUID is known as well: libvirt
// then looks the domain up by it, and another domain of that name is not found. Without a UUID it is the name.
//
// No name can be mistaken for it: libvirt allows no slash in one.
func Ref(name, uuid string) string {
	if len(uuid) != uuidLength {
		return name
	}
	return uuid + "/" + name
}

// SplitRef undoes [Ref]; of a plain name the UUID is empty.
func SplitRef(ref string) (name, uuid string) {
	uuid, name, isRef := strings.Cut(ref, "/")
	if !isRef || len(uuid) != uuidLength {
		return ref, ""
	}
	return name, uuid
}
