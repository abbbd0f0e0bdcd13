# Sign parts of binary packages. Runs on the host, in a sandbox without network; the key is only in memory (/run).
# Arguments: the key, and whether there is a passphrase. Standard input: lines "detach|clear FILE OFFSET SIZE OUTPUT".
# Exit codes: 3 if the file does not hold the secret key, 4 if the key cannot sign.
set -u
umask 077
export GNUPGHOME=/run/gnupg
mkdir "$GNUPGHOME"
gpg="gpg --batch --no-tty --quiet --pinentry-mode loopback"
phrase=
[ "$2" = yes ] && phrase="--passphrase-file /tmp/passphrase"
said=$($gpg --import /tmp/secret 2>&1)
if ! $gpg --list-secret-keys "$1" > /dev/null 2>&1; then
	echo "$said" >&2
	exit 3
fi
while read -r how file offset size output; do
	how=--$([ "$how" = clear ] && echo clear-sign || echo detach-sign)
	tail -c "+$((offset + 1))" "/tmp/in/$file" | head -c "$size" |
		$gpg $phrase --armor --digest-algo SHA512 --local-user "$1" "$how" --output "/tmp/out/$output" || exit 4
done
$gpg --armor --export "$1" > /tmp/out/public
