# shellcheck shell=sh
# Settings of the installed system. Each function can be repeated: it writes whole files.

# put PATH [MODE]: replace a file of the installed system by stdin. A link there is replaced, never followed.
put() {
	folder=$root/${1%/*}
	mkdir -p "$folder"
	inside "$folder"
	cat > "$folder/.stagewright-new" || fail TARGET_FULL "/$1: cannot be written"
	chmod "${2:-644}" "$folder/.stagewright-new"
	mv -f "$folder/.stagewright-new" "$root/$1"
}

# End the program if a folder of the installed system is a link that leads out of it.
inside() {
	case $(readlink -f "$1")/ in
	"$(readlink -f "$root")"/*) ;;
	*) fail UNSAFE "$1: leads out of the installed system" "the source has a link to an absolute path there" ;;
	esac
}

link() { # link TARGET PATH
	mkdir -p "$root/${2%/*}"
	inside "$root/${2%/*}"
	rm -f "$root/$2"
	ln -s "$1" "$root/$2"
}

has_systemd() { [ -e "$root/usr/lib/systemd/systemd" ]; }

configure() {
	for file in passwd group shadow; do
		[ -f "$root/etc/$file" ] || fail SOURCE "source $answer_source: has no /etc/$file" "use a source that is a whole root"
	done
	inside "$root/etc"
	fstab_text | put etc/fstab
	crypttab_text > "$work/crypttab"
	[ ! -s "$work/crypttab" ] || put etc/crypttab 600 < "$work/crypttab"
	forget_identity
	set_names
	set_network
	set_accounts
}

# What belongs to one machine is made new at its first start.
forget_identity() {
	if has_systemd || [ -e "$root/etc/machine-id" ]; then : | put etc/machine-id 444; fi
	rm -f "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed" "$root/var/lib/seedrng/"seed* \
		"$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub
}

fstab_text() {
	echo "# Written by stagewright-install. See fstab(5)."
	index=1
	while [ "$index" -le "$parts" ]; do
		place=$(part_get "$index" mount)
		format=$(part_get "$index" format)
		case $format,$place in
		swap,*) place=none options=sw pass=0 ;;
		*,) index=$((index + 1)); continue ;;
		vfat,*) options=umask=0077 pass=2 ;;
		*,/) options=defaults pass=1 ;;
		*) options=defaults pass=2 ;;
		esac
		case $format in btrfs | xfs) pass=0 ;; esac
		[ -z "$(part_get "$index" options)" ] || options=$(part_get "$index" options)
		case $(part_get "$index" readonly) in yes | true | 1) options=$options,ro ;; esac
		printf 'UUID=%s\t%s\t%s\t%s\t0 %s\n' "$(fs_uuid "$index")" "$place" "$format" "$options" "$pass"
		index=$((index + 1))
	done
}

# luks_name N: the mapping in the installed system.
luks_name() { if [ "$1" = "$root_part" ]; then echo root; else part_get "$1" label; fi; }

crypttab_text() {
	index=1
	while [ "$index" -le "$parts" ]; do
		case $(part_get "$index" encrypt) in
		'') ;;
		*tpm2*) printf '%s UUID=%s none luks,tpm2-device=auto\n' "$(luks_name "$index")" "$(luks_uuid "$index")" ;;
		*) printf '%s UUID=%s none luks\n' "$(luks_name "$index")" "$(luks_uuid "$index")" ;;
		esac
		index=$((index + 1))
	done
}

set_names() {
	if [ -n "$answer_hostname" ]; then
		echo "${answer_hostname%%.*}" | put etc/hostname
		[ ! -d "$root/etc/conf.d" ] || echo "hostname=\"${answer_hostname%%.*}\"" | put etc/conf.d/hostname
		printf '127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\t%s %s\n' "$answer_hostname" "${answer_hostname%%.*}" | put etc/hosts
	fi
	if [ -n "$answer_locale" ]; then
		echo "LANG=$answer_locale" | put etc/locale.conf
		[ ! -d "$root/etc/env.d" ] || echo "LANG=\"$answer_locale\"" | put etc/env.d/02locale
	fi
	if [ -n "$answer_keymap" ]; then
		echo "KEYMAP=$answer_keymap" | put etc/vconsole.conf
		[ ! -d "$root/etc/conf.d" ] || echo "keymap=\"$answer_keymap\"" | put etc/conf.d/keymaps
	fi
	if [ -n "$answer_timezone" ]; then
		[ -e "$root/usr/share/zoneinfo/$answer_timezone" ] ||
			warn "timezone: the installed system has no zone $answer_timezone; it uses UTC until it has"
		link "../usr/share/zoneinfo/$answer_timezone" etc/localtime
		echo "$answer_timezone" | put etc/timezone
	fi
}

set_network() {
	case $answer_network in
	keep | none) return ;;
	esac
	if [ -e "$root/usr/lib/systemd/systemd-networkd" ]; then
		networkd_text | put etc/systemd/network/20-stagewright-install.network
		link /usr/lib/systemd/system/systemd-networkd.service etc/systemd/system/multi-user.target.wants/systemd-networkd.service
	elif [ -e "$root/etc/init.d/net.lo" ]; then
		[ -n "$answer_interface" ] || fail ANSWERS "network: netifrc needs a name" "write: interface = eth0"
		netifrc_text | put etc/conf.d/net
		link net.lo "etc/init.d/net.$answer_interface"
		link "/etc/init.d/net.$answer_interface" "etc/runlevels/default/net.$answer_interface"
	else
		fail NETWORK "network: the installed system has neither systemd-networkd nor netifrc" "write: network = keep"
	fi
}

networkd_text() {
	if [ -n "$answer_interface" ]; then printf '[Match]\nName=%s\n' "$answer_interface"; else printf '[Match]\nType=ether\n'; fi
	printf '\n[Network]\n'
	[ "$answer_network" != dhcp ] || echo DHCP=yes
	[ -z "$answer_address" ] || echo "Address=$answer_address"
	[ -z "$answer_gateway" ] || echo "Gateway=$answer_gateway"
	for server in $answer_dns; do echo "DNS=$server"; done
}

netifrc_text() {
	if [ "$answer_network" = dhcp ]; then
		echo "config_$answer_interface=\"dhcp\""
	else
		echo "config_$answer_interface=\"$answer_address\""
		[ -z "$answer_gateway" ] || echo "routes_$answer_interface=\"default via $answer_gateway\""
		[ -z "$answer_dns" ] || echo "dns_servers_$answer_interface=\"$answer_dns\""
	fi
}

set_accounts() {
	if [ -n "$answer_root_password" ]; then
		set_password root "$answer_root_password"
	elif [ -z "$(field_of shadow root 2)" ]; then
		# Live systems let root in without a password.
		set_password root '*'
	fi
	[ -z "$answer_root_ssh_key" ] || set_keys root 0 0 root "$answer_root_ssh_key"
	index=1
	while [ "$index" -le "$users" ]; do
		eval "name=\$user_${index}_name password=\$user_${index}_password groups=\$user_${index}_groups keys=\$user_${index}_keys"
		set_user
		index=$((index + 1))
	done
}

# field_of FILE NAME FIELD: print a field of /etc/passwd, group or shadow.
field_of() { awk -F: -v name="$2" -v field="$3" '$1 == name { print $field; exit }' "$root/etc/$1"; }

set_password() {
	name=$1 hash=$2 awk -F: -v OFS=: '
		$1 == ENVIRON["name"] { $2 = ENVIRON["hash"]; found = 1 } { print }
		END { if (!found) print ENVIRON["name"], ENVIRON["hash"], 19700, 0, 99999, 7, "", "", "" }
	' "$root/etc/shadow" > "$work/shadow"
	put etc/shadow "$(stat -c %a "$root/etc/shadow")" < "$work/shadow"
	rm -f "$work/shadow"
}

# The user of the variables name, password, groups and keys.
set_user() {
	uid=$(field_of passwd "$name" 3)
	if [ -z "$uid" ]; then
		uid=$(awk -F: '$3 >= 1000 && $3 < 60000 && $3 >= next_id { next_id = $3 + 1 } END { print next_id ? next_id : 1000 }' \
			"$root/etc/passwd" "$root/etc/group")
		gid=$(field_of group "$name" 3)
		gid=${gid:-$uid}
		shell=/bin/sh
		[ ! -e "$root/bin/bash" ] && [ ! -e "$root/usr/bin/bash" ] || shell=/bin/bash
		{ cat "$root/etc/passwd"; echo "$name:x:$uid:$gid::/home/$name:$shell"; } > "$work/passwd"
		put etc/passwd < "$work/passwd"
		[ -n "$(field_of group "$name" 3)" ] || { cat "$root/etc/group"; echo "$name:x:$gid:"; } > "$work/group"
		[ ! -s "$work/group" ] || put etc/group < "$work/group"
		rm -f "$work/group"
	fi
	gid=$(field_of passwd "$name" 4)
	set_password "$name" "${password:-!}"
	for group in $groups; do add_to_group "$name" "$group"; done
	home=$(field_of passwd "$name" 6)
	if [ ! -d "$root$home" ]; then
		mkdir -p "$root$home"
		[ ! -d "$root/etc/skel" ] || cp -a "$root/etc/skel/." "$root$home/"
		chown -R "$uid:$gid" "$root$home"
		chmod 700 "$root$home"
	fi
	[ -z "$keys" ] || set_keys "$name" "$uid" "$gid" "${home#/}" "$keys"
}

add_to_group() {
	[ -n "$(field_of group "$2" 3)" ] || fail ANSWERS "user.$1.groups: the installed system has no group $2" \
		"its groups are: $(cut -d : -f 1 "$root/etc/group" | tr '\n' ' ')"
	awk -F: -v OFS=: -v name="$1" -v group="$2" '
		$1 == group && (":" $4 ",") !~ ("[:,]" name ",") { $4 = $4 ? $4 "," name : name } { print }
	' "$root/etc/group" > "$work/group"
	put etc/group < "$work/group"
	rm -f "$work/group"
}

# set_keys NAME UID GID HOME KEYS
set_keys() {
	mkdir -p "$root/$4"
	inside "$root/$4"
	mkdir -p "$root/$4/.ssh"
	printf '%s\n' "$5" | put "$4/.ssh/authorized_keys" 600
	chmod 700 "$root/$4/.ssh"
	chown "$2:$3" "$root/$4/.ssh" "$root/$4/.ssh/authorized_keys"
}
