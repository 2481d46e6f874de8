"""A jump host written with Twisted Conch: conchserver.py PORT AUTHORIZED_KEYS HOST_KEY.

Its forwarding is Conch's own, which confirms a channel before it connects. Prints "ready", and
"session" when somebody opens a session channel.
"""
import sys

from twisted.conch import avatar
from twisted.conch.checkers import InMemorySSHKeyDB, SSHPublicKeyChecker
from twisted.conch.ssh import factory, forwarding, keys
from twisted.cred.portal import Portal
from twisted.internet import reactor


class JumpUser(avatar.ConchUser):
    def __init__(self, name):
        super().__init__()
        self.name = name
        self.channelLookup[b"direct-tcpip"] = forwarding.openConnectForwardingClient


    def lookupChannel(self, kind, *rest):
        if kind == b"session":
            print("session", flush=True)
        return super().lookupChannel(kind, *rest)


class Realm:
    def requestAvatar(self, name, mind, *interfaces):
        return interfaces[0], JumpUser(name), lambda: None


class AnyUser(dict):
    """Every user has the same keys."""

    def __init__(self, authorized):
        super().__init__()
        self.authorized = authorized

    def __getitem__(self, name):
        return self.authorized

    def get(self, name, default=None):
        return self.authorized


class JumpHost(factory.SSHFactory):
    def __init__(self, authorized, host_key):
        self.portal = Portal(Realm(), [SSHPublicKeyChecker(InMemorySSHKeyDB(AnyUser(authorized)))])
        self.publicKeys = {host_key.sshType(): host_key.public()}
        self.privateKeys = {host_key.sshType(): host_key}

    def getPrimes(self):
        return None


port, authorized_keys, host_key = sys.argv[1:]
with open(authorized_keys, "rb") as file:
    known = [keys.Key.fromString(line) for line in file if line.strip()]
reactor.listenTCP(int(port), JumpHost(known, keys.Key.fromFile(host_key)))
reactor.callWhenRunning(lambda: print("ready", flush=True))
reactor.run()
