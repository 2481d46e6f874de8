import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TunnelError } from '../../../../src/errors/errors.ts';
import { endedCode, openProxyCommand } from '../../../../src/ssh/dial/proxycommand.ts';
import { LogLines } from '../../../support/embedded.ts';

/** The error with which the program's stream ends. */
async function endOf(command: string): Promise<TunnelError> {
  const stream = await openProxyCommand(command, { observer: new LogLines() });
  stream.resume();
  const error = await new Promise<unknown>((resolve) => stream.once('error', resolve));
  assert.ok(error instanceof TunnelError);
  return error;
}

describe('a ProxyCommand that ends', () => {
  it('is told with its status and its last line', async () => {
    const { code, message } = await endOf("sh -c 'echo first >&2; echo no way out >&2; exit 3'");
    assert.equal(code, 'jumphost-proxy');
    assert.match(message, /exit status 3.*it says "no way out"$/);
  });

  it('was refused, if it says so: nobody is burdened by another attempt', async () => {
    const { code, message } = await endOf("sh -c 'echo Ncat: Connection refused. >&2; exit 1'");
    assert.equal(code, 'jumphost-refused');
    assert.match(message, /^the ProxyCommand has ended/);
  });

  it('was not, if something has come through it', async () => {
    const { code } = await endOf("sh -c 'echo SSH-2.0-x; echo Connection refused >&2; exit 1'");
    assert.equal(code, 'jumphost-proxy');
  });
});

describe('endedCode', () => {
  for (const [line, code] of [
    ['nc: connect to 192.0.2.1 port 22 (tcp) failed: Connection refused', 'jumphost-refused'],
    ['channel 0: open failed: connect failed: Connection refused', 'jumphost-refused'],
    ['Permission denied (publickey).', 'jumphost-proxy'],
    [undefined, 'jumphost-proxy'],
  ] as const)
    it(`${line}: ${code}`, () => assert.equal(endedCode(line), code));
});
