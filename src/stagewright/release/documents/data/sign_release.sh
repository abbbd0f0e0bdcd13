# Sign files of a release. Runs on the host, in a sandbox without network; the key is only in memory (/run).
# Arguments: the key, then "detach:FILE" or "clear:FILE" for each file. Standard input: the passphrase, or nothing.
# Exit codes: 3 if the file does not hold the secret key, 4 if the key cannot sign.
set -u
umask 077
export GNUPGHOME=/run/gnupg
mkdir "$GNUPGHOME"
cat > /run/passphrase
gpg="gpg --batch --no-tty --quiet --pinentry-mode loopback --passphrase-file /run/passphrase"
key=$1
shift
said=$($gpg --import /tmp/secret 2>&1)
if ! $gpg --list-secret-keys "$key" > /dev/null 2>&1; then
	echo "$said" >&2
	exit 3
fi
for request in "$@"; do
	file=${request#*:}
	how=--$([ "${request%%:*}" = clear ] && echo clear-sign || echo detach-sign)
	$gpg --armor --digest-algo SHA512 --local-user "$key" --output "/tmp/out/$file" "$how" "/tmp/in/$file" || exit 4
done
$gpg --armor --export "$key" > /tmp/out/public
