"""A jump host written with paramiko: paramikoserver.py PORT AUTHORIZED_KEYS HOST_KEY.

As the library's own demonstrations do, it uses a thread for each direction of each connection and
answers with one of paramiko's codes; paramiko adds the text. Port 9 is denied. Prints
"ready", and "session" when somebody opens a session channel.
"""
import socket
import sys
import threading

import paramiko

DENIED_PORT = 9
BLOCK = 32768


def copy(read, write, end):
    try:
        while data := read(BLOCK):
            write(data)
        end()
    except OSError:
        pass


def carry(channel, target):
    up = threading.Thread(
        target=copy,
        args=(channel.recv, target.sendall, lambda: target.shutdown(socket.SHUT_WR)),
        daemon=True,
    )
    up.start()
    copy(target.recv, channel.sendall, channel.shutdown_write)
    up.join()
    channel.close()
    target.close()


class JumpHost(paramiko.ServerInterface):
    def __init__(self, authorized):
        self.authorized = authorized
        self.targets = {}

    def get_allowed_auths(self, username):
        return "publickey"

    def check_auth_publickey(self, username, key):
        known = key.get_base64() in self.authorized
        return paramiko.AUTH_SUCCESSFUL if known else paramiko.AUTH_FAILED

    def check_channel_request(self, kind, chanid):
        print(kind, flush=True)
        return paramiko.OPEN_FAILED_UNKNOWN_CHANNEL_TYPE

    def check_channel_direct_tcpip_request(self, chanid, origin, destination):
        if destination[1] == DENIED_PORT:
            return paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        try:
            self.targets[chanid] = socket.create_connection(destination)
        except OSError:
            return paramiko.OPEN_FAILED_CONNECT_FAILED
        return paramiko.OPEN_SUCCEEDED


def serve(client, authorized, host_key):
    transport = paramiko.Transport(client)
    transport.add_server_key(host_key)
    server = JumpHost(authorized)
    try:
        transport.start_server(server=server)
    except (paramiko.SSHException, EOFError):
        return
    while transport.is_active():
        channel = transport.accept(1)
        if channel is not None:
            target = server.targets.pop(channel.get_id())
            threading.Thread(target=carry, args=(channel, target), daemon=True).start()


port, authorized_keys, host_key = sys.argv[1:]
with open(authorized_keys) as file:
    known = {line.split()[1] for line in file if line.strip()}
key = paramiko.Ed25519Key.from_private_key_file(host_key)
listener = socket.create_server(("", int(port)), backlog=128)
print("ready", flush=True)
while True:
    client, _ = listener.accept()
    threading.Thread(target=serve, args=(client, known, key), daemon=True).start()
