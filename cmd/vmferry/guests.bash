# Whether no GUEST is named yet: all words after the command are flags.
_vmferry_wants_guest() {
	local word ended=
	for word in "${COMP_WORDS[@]:2:COMP_CWORD-2}"; do
		[[ $ended || $word != -* ]] && return 1
		[[ $word == -- ]] && ended=yes
	done
	return 0
}

# Completes $1 to the names of vmferry's own list of guests, quoted where the shell needs it; silence where nobody
# answers. A name that begins with a dash is offered after --, and one that quotes cannot hold as it is, without quotes.
_vmferry_guests() {
	_vmferry_wants_guest || return
	local name begun=$1 quote=
	case $begun in
	[\"\']*) quote=${begun:0:1} begun=${begun:1} ;;
	*) begun=${begun//\\/} ;;
	esac
	while IFS= read -r name; do
		[[ $name == "$begun"* ]] || continue
		[[ $name == -* && " ${COMP_WORDS[*]:0:COMP_CWORD} " != *" -- "* ]] && continue
		[[ $quote && $name == *[\"\'\\\$\`]* ]] && continue
		[[ $quote ]] || printf -v name %q "$name"
		COMPREPLY+=("$name")
	done < <(vmferry status --json 2>/dev/null | sed -n 's/^ *"guest": "\(.*\)",$/\1/p' | sed 's/\\\(["\\]\)/\1/g')
}

# Completes $1 to what follows guard.
_vmferry_guard() {
	((COMP_CWORD == 2)) && mapfile -t COMPREPLY < <(compgen -W "init confirm status check times log" -- "$1")
}

# Completes $1 to what follows mirror: a command or a guest, then a guest.
_vmferry_mirror() {
	((COMP_CWORD == 2)) && mapfile -t COMPREPLY < <(compgen -W "status sync verify resync promote" -- "$1")
	((COMP_CWORD == 3)) && COMP_WORDS=("${COMP_WORDS[@]:1}") COMP_CWORD=2 _vmferry_guests "$1"
}
