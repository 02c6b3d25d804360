# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Tab completion of fake-proxy for bash: source it. The program itself knows what may come next;
# where it knows nothing, files do.

_fake_proxy() {
	# bash makes three words of NAME:PATH; what stands after the colon is a file of the container's.
	mapfile -t COMPREPLY < <("$1" completion -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
	[[ ${COMPREPLY[0]-} != *: ]] || compopt -o nospace
}
complete -o bashdefault -o default -F _fake_proxy fake-proxy
