import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { Journal } from '../../../src/record/journal.ts';
import { recordText } from '../../support/recordtext.ts';

/** Node has no datagram sockets of Unix: each datagram becomes a line of JSON. */
const RECEIVER = `
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('bound', flush=True)
while True: print(json.dumps(s.recv(65536).decode()), flush=True)
`;

test('records reach a journal as datagrams of its protocol', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-journal-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'socket');
  const receiver = spawn('/usr/bin/python3', ['-c', RECEIVER, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => receiver.kill());
  const lines = createInterface({ input: receiver.stdout })[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, 'bound');
  const journal = Journal.open(path);
  const time = '2026-11-29T05:01:41.123Z';
  const started = recordText(journal.format, { time, event: 'started', remote: 'alice@jump' });
  const refused = recordText(journal.format, {
    ...{ time, event: 'refused', id: 'run-1', refusal: 'prohibited', reason: 'no rule' },
  });
  const both = Buffer.from(started + refused);
  const taken = await journal.write(both, [started.length, both.length]);
  assert.equal(taken, 2);
  const first = String(JSON.parse((await lines.next()).value));
  const second = String(JSON.parse((await lines.next()).value));
  assert.match(first, /^MESSAGE=the flow log begins: alice@jump\nPRIORITY=6\n/);
  assert.match(first, /\nSYSLOG_IDENTIFIER=tunnel\nTUNNEL_EVENT=started\n/);
  assert.match(second, /\nTUNNEL_FLOW_ID=run-1\n/);
  assert.match(second, /\nTUNNEL_REFUSAL=prohibited\n/);
  assert.ok(second.endsWith('\n'));
  receiver.kill();
  await once(receiver, 'close');
  await assert.rejects(journal.write(both, [both.length]));
  await journal.close();
});

test('without a journal there is an error with a hint', () => {
  assert.throws(() => Journal.open('/nonexistent/socket'), { code: 'record-file' });
});
