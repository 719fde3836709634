// Package saveimage reads what libvirt writes in front of a guest's memory when it saves the guest to a file.
//
// Start with [Read]. It reports which guest a file is before libvirt is asked to restore it: libvirt starts whatever
// the file describes.
//
// Source: virQEMUSaveHeader in libvirt's src/qemu/qemu_saveimage.h, libxlSavefileHeader in src/libxl/libxl_conf.h.
package saveimage
