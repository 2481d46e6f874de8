"""A terminal that nobody reads until a line comes on standard input: terminal.py [COMMAND...]

Prints the terminal's path and a newline; after the line, copies what is written to the terminal to
standard output, until nobody has the terminal open. A COMMAND is run as a background job of the
terminal's session, with `stty tostop`, and its standard error is the terminal.
"""
import os
import pty
import signal
import sys
import termios

master, slave = pty.openpty()
sys.stdout.write(os.ttyname(slave) + '\n')
sys.stdout.flush()
if len(sys.argv) > 1:
    if os.fork() == 0:
        # The leader of the session: it waits in the foreground, as a shell does.
        os.setsid()
        os.close(os.open(os.ttyname(slave), os.O_RDWR))
        modes = termios.tcgetattr(slave)
        modes[3] |= termios.TOSTOP
        termios.tcsetattr(slave, termios.TCSANOW, modes)
        job = os.fork()
        if job == 0:
            os.setpgid(0, 0)
            os.dup2(slave, 2)
            os.execvp(sys.argv[1], sys.argv[1:])
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        _, status = os.waitpid(job, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            os.write(slave, b'[stopped by %d]\n' % os.WSTOPSIG(status))
            os.kill(job, signal.SIGKILL)
        os._exit(0)
sys.stdin.readline()
os.close(slave)
while True:
    try:
        octets = os.read(master, 65536)
    except OSError:
        break
    if not octets:
        break
    sys.stdout.buffer.write(octets)
    sys.stdout.buffer.flush()
