/** `--key agent` of `tunnel jumphost`: the public keys that the user's ssh-agent holds. */
import { keyLine } from '../config/keyfile.ts';
import { UsageError } from '../errors/errors.ts';
import { quoted } from '../net/notation.ts';
import type { Observer } from '../observe/observer.ts';
import { SshAgent } from '../ssh/identities/agent.ts';

/**
 * Each as `TYPE BASE64 COMMENT`. What sshd takes from no authorized_keys file, such as a
 * certificate, is left out with a notice. Rejects with UsageError when there is no agent or no key,
 * and with TunnelError `agent-failed`.
 */
export async function agentKeys(
  observer: Observer,
  socket: string | undefined = process.env['SSH_AUTH_SOCK'],
): Promise<string[]> {
  if (socket === undefined || socket === '') {
    throw new UsageError('--key agent: SSH_AUTH_SOCK is not set', {
      hint: 'start ssh-agent and add a key with ssh-add, or name a .pub file with --key',
    });
  }
  const keys = (await new SshAgent(socket).list()).flatMap((key) => {
    const line = keyLine(key.type, key.blob, key.comment);
    if (line === undefined)
      observer.log(
        'notice',
        `the agent's key ${quoted(key.comment)} is left out: sshd takes no ${quoted(key.type)}`,
      );
    return line ?? [];
  });
  if (keys.length > 0) return keys;
  throw new UsageError('--key agent: ssh-agent holds no key', {
    hint: 'add one with ssh-add, or name a .pub file with --key',
  });
}
