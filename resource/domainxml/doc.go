// Package domainxml reads and edits what describes a guest: libvirt's domain XML, and the xl configuration of Xen. It
// is functions over text; the only file that it opens is the one that the caller names.
//
// [Parse] is the identity of the guest, its name and UUID, and fails where releases of libvirt may read another one.
// [HostResourcesOf] and [FirmwareOf] are what the guest takes of its node. [Domain.WithUUID],
// [WithName], [KeepTPM] and [EditTags] edit. [Seal] and [Unseal] distinguish a file of the agent's from one of the
// operator's.
//
// # Why not libvirtxml alone
//
// What is asked of a domain in detail, such as its firmware, is read with libvirt.org/go/libvirtxml. It is not used
// for:
//
//   - identity (domain.go): libvirt takes the first of two elements, libvirtxml the last; and a document type, an
//     encoding or a comment can change a name. A wrong name would start the guest twice.
//   - edits (edit.go): libvirtxml drops elements that it does not know. libvirt must get the operator's text, byte for
//     byte, but for what is added.
//   - networks, pools and disks (host.go): a value that libvirtxml cannot convert makes the whole document unreadable,
//     and a disk that is not seen is not checked before a start.
package domainxml
