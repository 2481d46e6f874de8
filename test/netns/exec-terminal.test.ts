/** `tunnel exec` at a terminal, with input typed in tmux: it must behave like the command alone. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { API1, PRIVATE4 } from '../support/addresses.ts';
import { ExecLab } from '../support/execlab.ts';
import { labUnavailable } from '../support/lab.ts';
import { closedToOthers } from '../support/requirements.ts';
import { Tmux } from '../support/tmux.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';

/** A command that counts the signals that it gets, and ends when a line is typed. */
const COUNT = `
import signal, sys
seen = {}
def note(number, frame):
    name = signal.Signals(number).name
    seen[name] = seen.get(name, 0) + 1
for name in ("INT", "QUIT", "TERM", "HUP"): signal.signal(getattr(signal, "SIG" + name), note)
if "ignore-stop" in sys.argv: signal.signal(signal.SIGTSTP, signal.SIG_IGN)
print("counting", flush=True)
while True:
    line = sys.stdin.readline()
    if line: break
print("seen", sorted(seen.items()), flush=True)
`;

/**
 * Runs a command as the leader of a session with a new terminal, and closes that when the command
 * has printed something.
 */
const HANG_UP = `
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])
os.read(terminal, 1000)
os.close(terminal)
print("left with", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

/** Waits until the program has begun to connect. */
const CONNECTING_MS = 1500;

const skip =
  labUnavailable('openssl', 'unshare', 'tmux', 'bash', 'python3') || closedToOthers(MAIN);

describe('exec at a terminal', { skip }, () => {
  let exec: ExecLab;
  let tmux: Tmux;
  before(async () => {
    exec = await ExecLab.create();
    writeFileSync(join(exec.home, 'count.py'), COUNT);
    writeFileSync(join(exec.home, 'hangup.py'), HANG_UP);
    writeFileSync(
      join(exec.home, 't'),
      `#!/bin/sh\nexec ${process.execPath} ${MAIN} exec -r ${REMOTE} ${PRIVATE4} -- "$@"\n`,
      { mode: 0o755 },
    );
    // The tmux server runs in the client's namespaces, as the user; its clients only use its
    // socket.
    const inside = exec.userArgv(['"$@"']);
    let started = false;
    tmux = await Tmux.start(
      exec.home,
      (argv) => {
        if (started) return argv;
        started = true;
        return ['ip', 'netns', 'exec', exec.lab.client.name, ...inside.slice(0, -1), ...argv];
      },
      { HOME: exec.home },
    );
    await tmux.type(`cd ${exec.home}`, 'Enter');
  });
  beforeEach(() => tmux.clear());
  after(async () => {
    await tmux?.close();
    await exec?.close();
  });

  const run = (line: string) => tmux.type(line, 'Enter');

  /** The kernel's one-letter state of a process. */
  function stateOf(pid: string): string {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).charAt(0);
  }

  it('Ctrl-C reaches the command once, and the tunnel not at all', async () => {
    await run('./t python3 count.py; echo "status $?"');
    await tmux.waitFor(/^counting$/m);
    await tmux.type('', 'C-c');
    await delay(300);
    await tmux.type('', 'C-c');
    await delay(300);
    await tmux.type('', 'C-\\');
    await delay(300);
    await run('end');
    await tmux.waitFor(/^seen \[\('SIGINT', 2\), \('SIGQUIT', 1\)\]\nstatus 0$/m);
  });

  it('Ctrl-C ends a command that does not handle it, with 130', async () => {
    await run('./t sh -c "echo here; exec sleep 60"; echo "status $?"');
    await tmux.waitFor(/^here$/m);
    await tmux.type('', 'C-c');
    await tmux.waitFor(/status 130$/m);
  });

  it('Ctrl-Z stops both, fg and bg continue both', async () => {
    await run("./t sh -c 'echo pids $$ $PPID; read line; curl -sS http://$line/'");
    const [, command = '', tunnel = ''] = await tmux.waitFor(/^pids (\d+) (\d+)$/m);
    await tmux.type('', 'C-z');
    await tmux.waitFor(/\[1\]\+ +Stopped/);
    assert.deepEqual([stateOf(command), stateOf(tunnel)], ['T', 'T']);
    await run('bg; sleep 0.3; jobs');
    // It reads from the terminal, which stops it again.
    await tmux.waitFor(/\[1\]\+ +Stopped[\s\S]*\[1\]\+ .* &[\s\S]*\[1\]\+ +Stopped/);
    await run('fg');
    await delay(300);
    assert.notEqual(stateOf(tunnel), 'T');
    await run(API1);
    await tmux.waitFor(/"peer":"10\.77\.0\.1"/);
  });

  it('a full-screen program stops and comes back', {
    skip: labUnavailable('less'),
  }, async () => {
    await run('seq 100 >lines; ./t less lines');
    await tmux.waitFor(/^1\n2\n/m);
    await tmux.type('', 'C-z');
    await tmux.waitFor(/\[1\]\+ +Stopped/);
    await run('fg');
    await tmux.waitFor(/^1\n2\n[\s\S]*^23$/m);
    await tmux.type('', 'G');
    await tmux.waitFor(/^100$/m);
    await tmux.type('', 'q');
    await run('echo "status $?"');
    await tmux.waitFor(/^status 0$/m);
  });

  it('Ctrl-C while it connects ends it silently', async () => {
    await run(
      `sed 's/-r [^ ]*/-r jump@192.0.2.77/' t >slow; chmod 755 slow; clear; ./slow true; echo "status $?"`,
    );
    await delay(CONNECTING_MS);
    await tmux.type('', 'C-c');
    await tmux.waitFor(/^\^Cstatus 130$/m);
  });

  it('a command that ignores Ctrl-Z keeps the tunnel running', async () => {
    await run('./t python3 count.py ignore-stop; echo "status $?"');
    await tmux.waitFor(/^counting$/m);
    await tmux.type('', 'C-z');
    await delay(300);
    await run('end');
    await tmux.waitFor(/^seen \[\]\nstatus 0$/m);
  });

  it('a command that stops itself stops the tunnel', async () => {
    await run('./t sh -c \'kill -STOP $$; echo resumed\'; echo "status $?"');
    await tmux.waitFor(/\[1\]\+ +Stopped/);
    await run('fg');
    await tmux.waitFor(/^resumed$/m);
  });

  it('a closed terminal hangs the command up, even when the tunnel leads the session', async () => {
    await run(`python3 hangup.py ./t sh -c 'trap "exit 9" HUP; echo here; sleep 60 & wait'`);
    await tmux.waitFor(/^left with 9$/m);
  });

  it('sees the size of the window, and its changes', async () => {
    await run('./t bash -c \'trap "stty size" WINCH; stty size; while :; do sleep 0.05; done\'');
    await tmux.waitFor(/^24 80$/m);
    await tmux.resize(70, 20);
    await tmux.waitFor(/^20 70$/m);
    await tmux.resize(80, 24);
    await tmux.type('', 'C-c');
    await tmux.waitFor(/^\$ $/m);
  });

  it('an interactive shell has job control, and the terminal comes back', async () => {
    await run('./t bash --norc --noprofile -i');
    await tmux.waitFor(/^\$ \.\/t bash.*\n\$ $/m);
    await run('sleep 60');
    await delay(200);
    await tmux.type('', 'C-z');
    await tmux.waitFor(/\[1\]\+ +Stopped +sleep 60/);
    await run('kill -KILL %1; sleep 0.1');
    await run(':');
    await tmux.waitFor(/Killed/);
    await run('echo inside $$; exit 4');
    await tmux.waitFor(/^inside \d+$/m);
    await run('echo "status $?"');
    await tmux.waitFor(/^status 4$/m);
  });

  it('the terminal settings that the command makes stay', async () => {
    await run('./t stty -tostop -ixon; stty -a | grep -o -e "-ixon"; stty ixon');
    await tmux.waitFor(/^-ixon$/m);
  });

  it('works in a pipeline', async () => {
    await run('./t seq 3000 | tail -n 1 | ./t cat; echo "status $?"');
    await tmux.waitFor(/^3000\nstatus 0$/m);
  });
});
