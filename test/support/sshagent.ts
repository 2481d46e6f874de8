/** A real ssh-agent. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** Starts an agent at `socket` with these keys. Kill it at the end. */
export async function startAgent(socket: string, keys: readonly string[]): Promise<ChildProcess> {
  const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' });
  // The socket's file is there a moment before anybody listens.
  while (!(await accepts(socket))) await delay(10);
  if (keys.length > 0) {
    execFileSync('ssh-add', ['-q', ...keys], {
      env: { ...process.env, SSH_AUTH_SOCK: socket },
      stdio: 'ignore',
    });
  }
  return agent;
}

function accepts(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(socket);
    probe.on('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.on('error', () => resolve(false));
  });
}
