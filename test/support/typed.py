"""A terminal with somebody who types: typed.py PROMPT ANSWER COMMAND...

Runs the command with a terminal of its own, which it leads the session of, through a shell as
people do. Types the answer when the prompt is shown. Copies to standard output what the terminal
shows, until the command has ended; then the terminal is closed, and its status is the result.
"""
import os
import pty
import sys

prompt, answer, command = sys.argv[1].encode(), sys.argv[2].encode(), sys.argv[3:]
pid, master = pty.fork()
if pid == 0:
    os.execvp('sh', ['sh', '-c', '"$@"; exit $?', 'sh', *command])
shown = b''
typed = False
while True:
    try:
        octets = os.read(master, 65536)
    except OSError:
        break
    if not octets:
        break
    os.write(1, octets)
    shown += octets
    if not typed and prompt in shown:
        typed = True
        os.write(master, answer + b'\r')
_, status = os.waitpid(pid, 0)
os.close(master)
sys.exit(os.waitstatus_to_exitcode(status))
