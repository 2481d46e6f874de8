import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { it } from 'node:test';
import { awaitKem } from '../../../../../src/ssh/embedded/ssh2/awaitkem.ts';
import { protocolOf } from '../../../../../src/ssh/embedded/ssh2/internals.ts';
import { isKemReady, prepareKem } from '../../../../../src/ssh/embedded/ssh2/mlkem.ts';
import ssh2 from '../../../../support/ssh2.ts';

it('keeps what the server sends until there are keys, and passes on an error of what it has kept', async () => {
  const errors: string[] = [];
  const client = new ssh2.Client();
  client.on('error', ({ message }) => void errors.push(message));
  client.connect({ sock: new PassThrough(), username: 'test' });
  const protocol = protocolOf(client);
  const got: string[] = [];
  const parse = (chunk: Buffer, start: number, end: number): void => {
    got.push(chunk.toString('latin1', start, end));
    if (got.length === 3) throw new Error('as ssh2 throws');
  };
  protocol.parse = parse;
  awaitKem(client);
  assert.equal(isKemReady(), false);
  const chunk = Buffer.from('SSH-2.0-');
  protocol.parse(chunk, 0, 4);
  protocol.parse(chunk, 4, 8);
  protocol.parse(chunk, 0, 0);
  // The socket uses its memory again.
  chunk.fill(0);
  assert.deepEqual(got, []);
  await prepareKem();
  await new Promise(setImmediate);
  assert.deepEqual(got, ['SSH-', '2.0-', '']);
  assert.equal(protocol.parse, parse);
  assert.deepEqual(errors, ['as ssh2 throws']);
  awaitKem(client);
  assert.equal(protocol.parse, parse, 'nothing is kept once there are keys');
});
