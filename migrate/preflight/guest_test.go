package preflight

const guestUUID = "11111111-2222-3333-4444-555555555555"

const guestDoc = `<domain type='qemu'><name>web</name><uuid>` + guestUUID + `</uuid><memory unit='KiB'>524288</memory>
<os><type arch='x86_64' machine='pc-q35-10.0'>hvm</type></os>
<devices><disk type='file' device='disk'><source file='/shared/web.img'/><target dev='vda'/></disk></devices></domain>`

const bridgeCard = `<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br77'/></interface>`
