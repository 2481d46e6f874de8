"""A jump host written with AsyncSSH: asyncsshserver.py PORT AUTHORIZED_KEYS HOST_KEY.

Port 9 is denied. Prints "ready", and "session" when somebody opens a session channel.
"""
import asyncio
import sys

import asyncssh

DENIED_PORT = 9


class JumpHost(asyncssh.SSHServer):
    def connection_requested(self, dest_host, dest_port, orig_host, orig_port):
        return dest_port != DENIED_PORT

    def session_requested(self):
        print("session", flush=True)
        return False


async def main():
    port, authorized_keys, host_key = sys.argv[1:]
    await asyncssh.create_server(
        JumpHost,
        "",
        int(port),
        server_host_keys=[host_key],
        authorized_client_keys=authorized_keys,
        reuse_address=True,
    )
    print("ready", flush=True)
    await asyncio.get_running_loop().create_future()


asyncio.run(main())
