# Runs in the live root. It has no #! line, like many scripts of release engineers.
set -e
systemctl --root=/ enable greeting.service
: > /etc/machine-id # systemd makes a new one at each start and does not start the first-boot wizard
echo "made for the live medium" > /etc/live-release
