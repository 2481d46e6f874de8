import assert from 'node:assert/strict';
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { endianness, tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { TunnelError } from '../../../src/errors/errors.ts';
import { Flow } from '../../../src/flow/flowwatch.ts';
import type { Destination } from '../../../src/net/destination.ts';
import { silentObserver } from '../../../src/observe/observer.ts';
import { PcapFile, PIECES } from '../../../src/record/pcapfile.ts';
import { countBlocks } from '../../../src/record/pcapng.ts';

const LITTLE = endianness() === 'LE';
const SECTION = 0x0a0d0d0a;
const [INTERFACE, NAMES, STATISTICS, PACKET] = [1, 4, 5, 6];

interface Block {
  readonly type: number;
  readonly body: Buffer;
}

/** The blocks of a file, each of whose two lengths agree. */
function blocksOf(bytes: Buffer): Block[] {
  const blocks: Block[] = [];
  const number = (at: number) => (LITTLE ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
  let at = 0;
  while (at < bytes.length) {
    const length = number(at + 4);
    assert.equal(length % 4, 0);
    assert.equal(number(at + length - 4), length);
    blocks.push({ type: number(at), body: bytes.subarray(at + 8, at + length - 4) });
    at += length;
  }
  assert.equal(at, bytes.length);
  return blocks;
}

function typesIn(path: string): number[] {
  return blocksOf(readFileSync(path)).map(({ type }) => type);
}

/** A device that records packets of 1000 octets. */
class Device {
  readonly #tap: PcapFile;
  #memory: Buffer;
  #used = 0;

  constructor(tap: PcapFile) {
    this.#tap = tap;
    const first = tap.attach((next) => {
      const used = this.#used;
      this.#used = 0;
      if (next !== null) this.#memory = Buffer.from(next.buffer, next.byteOffset, next.byteLength);
      return used;
    });
    this.#memory = Buffer.from(first.buffer, first.byteOffset, first.byteLength);
  }

  packet(): void {
    const length = 1000;
    if (this.#used + length > this.#memory.length) this.#tap.full();
    if (this.#used + length > this.#memory.length) return;
    const at = this.#memory.subarray(this.#used, this.#used + length).fill(0);
    for (const [value, offset] of [
      [PACKET, 0],
      [length, 4],
      [length, length - 4],
    ] as const) {
      if (LITTLE) at.writeUInt32LE(value ?? 0, offset);
      else at.writeUInt32BE(value ?? 0, offset);
    }
    this.#used += length;
  }
}

function place(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-pcap-'));
  t.after(() => rmSync(directory, { recursive: true }));
  return join(directory, 'packets.pcapng');
}

function opened(path: string, size = 2 ** 30): Promise<PcapFile> {
  return PcapFile.open({
    path,
    size,
    payload: false,
    application: 'tunnel 1.2.3',
    namesOf: (address) => (address === '10.0.0.1' ? ['api.example.com', 'other'] : []),
    observer: silentObserver,
  });
}

function flow(destination: Destination, peer?: Destination): Flow {
  return new Flow({
    id: 1,
    source: { host: '10.9.9.9', port: 1 },
    destination,
    peer,
    signal: { aborted: false } as never,
    open: () => undefined,
    refuse: () => {},
  });
}

test('a file has its section, its interface, packets and statistics', async (t) => {
  const path = place(t);
  const file = await opened(path);
  file.setDevice('tun7');
  const device = new Device(file);
  for (let i = 0; i < 1000; i++) device.packet();
  file.detach();
  await file.close();
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const types = typesIn(path);
  assert.deepEqual(types.slice(0, 2), [SECTION, INTERFACE]);
  assert.equal(types.at(-1), STATISTICS);
  assert.equal(types.filter((type) => type === PACKET).length, 1000);
  const bytes = readFileSync(path);
  assert.ok(bytes.includes('tunnel 1.2.3'));
  assert.ok(bytes.includes('tun7'));
  assert.equal(countBlocks(bytes, bytes.length), types.length);
});

test('names come before the packets of their flows, and only names of the capture', async (t) => {
  const path = place(t);
  const file = await opened(path);
  file.setDevice('tun7');
  const device = new Device(file);
  file.asked(flow({ host: '10.0.0.1', port: 443 }));
  file.asked(flow({ host: 'db.example.com', port: 1 }, { host: '198.18.0.9', port: 1 }));
  file.asked(flow({ host: 'proxied.example.com', port: 1 }, { host: '127.0.0.1', port: 1080 }));
  file.asked(flow({ host: '10.0.0.1', port: 443 })); // known by now
  device.packet();
  file.detach();
  await file.close();
  const blocks = blocksOf(readFileSync(path));
  const names = blocks.filter(({ type }) => type === NAMES);
  assert.ok(typesIn(path).indexOf(NAMES ?? 0) < typesIn(path).indexOf(PACKET ?? 0));
  const text = Buffer.concat(names.map(({ body }) => body)).toString('latin1');
  assert.equal(text.split('api.example.com\0').length, 2);
  assert.ok(text.includes('db.example.com\0'));
  assert.ok(!text.includes('proxied'));
});

test('two files in turns, each complete, none larger than it may be', async (t) => {
  const path = place(t);
  const size = 2 ** 20;
  const file = await opened(path, size);
  file.setDevice('tun7');
  const device = new Device(file);
  file.asked(flow({ host: '10.0.0.1', port: 443 }));
  for (let i = 0; i < 4000; i++) {
    device.packet();
    if (i % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  file.detach();
  await file.close();
  assert.ok(!existsSync(`${path}.2`));
  for (const one of [path, `${path}.1`]) {
    assert.ok(statSync(one).size <= size + 1000, one);
    const types = typesIn(one);
    assert.deepEqual(types.slice(0, 3), [SECTION, INTERFACE, NAMES], one);
    assert.equal(types.at(-1), STATISTICS);
  }
});

/** A disk that is full for some writes: it takes ten bytes of each, and then none. */
async function fullDisk(t: TestContext, isFull: (first: Buffer) => boolean): Promise<void> {
  const handle = await open('/dev/null');
  const prototype = Object.getPrototypeOf(handle) as Pick<FileHandle, 'writev'>;
  await handle.close();
  const { writev } = prototype;
  t.mock.method(prototype, 'writev', function (this: FileHandle, parts: Buffer[]) {
    const [first = Buffer.alloc(0)] = parts;
    return writev.call(this, isFull(first) ? [first.subarray(0, 10)] : parts);
  });
}

const beginsSection = (bytes: Buffer) => bytes.readUInt32LE() === SECTION;

test('a disk that is full when a file begins leaves no packets without their section', async (t) => {
  const path = place(t);
  const file = await opened(path, 2 ** 20);
  file.setDevice('tun7');
  const device = new Device(file);
  file.asked(flow({ host: '10.0.0.1', port: 443 }));
  let refused = 0;
  let sections = 0;
  // The write with the interface, and the first one of the second file.
  await fullDisk(t, (first) => {
    if (beginsSection(first)) sections++;
    const isFull = refused === 0 || (refused === 1 && sections === 1);
    if (isFull) refused++;
    return isFull;
  });
  for (let i = 0; i < 1800; i++) {
    device.packet();
    if (i % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  file.detach();
  await file.close();
  assert.equal(refused, 2);
  for (const one of [path, `${path}.1`]) {
    assert.deepEqual(typesIn(one).slice(0, 3), [SECTION, INTERFACE, NAMES], one);
    assert.ok(typesIn(one).includes(PACKET ?? 0), one);
  }
  await (await opened(path)).close();
});

test('when all memory waits for the disk, packets are left out and counted', async (t) => {
  const path = place(t);
  const file = await opened(path);
  file.setDevice('tun7');
  const device = new Device(file);
  const count = 262 * (PIECES + 3); // of 256 KiB, in one turn
  for (let i = 0; i < count; i++) device.packet();
  file.detach();
  await file.close();
  const blocks = blocksOf(readFileSync(path));
  const written = blocks.filter(({ type }) => type === PACKET).length;
  assert.equal(written, 262 * PIECES);
  const dropped = blocks.at(-1)?.body.subarray(16, 24);
  assert.equal(
    Number(LITTLE ? dropped?.readBigUInt64LE() : dropped?.readBigUInt64BE()),
    count - written,
  );
});

test('a second tunnel on the same file is refused', async (t) => {
  const path = place(t);
  const one = await opened(path);
  await assert.rejects(opened(path), (error: TunnelError) => {
    assert.equal(error.code, 'record-file');
    return /another tunnel writes to it$/.test(error.message);
  });
  assert.ok(!existsSync(`${path}.1`), 'the first one’s file has its name');
  await one.close();
  await (await opened(path)).close();
});

test('a file that another tunnel has made in place of a removed one keeps its name', async (t) => {
  const path = place(t);
  const size = 2 ** 20;
  const file = await opened(path, size);
  file.setDevice('tun7');
  const device = new Device(file);
  rmSync(path);
  const other = await opened(path, size);
  const { ino } = statSync(path);
  const record = async (packets: number) => {
    for (let i = 0; i < packets; i++) {
      device.packet();
      if (i % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
  };
  await record(2000);
  assert.equal(statSync(path).ino, ino);
  assert.ok(!existsSync(`${path}.1`));
  await other.close();
  await record(600); // nobody else has it now
  file.detach();
  await file.close();
  assert.equal(statSync(`${path}.1`).ino, ino);
  assert.deepEqual(typesIn(path).slice(0, 2), [SECTION, INTERFACE]);
  assert.ok(typesIn(path).includes(PACKET ?? 0));
});

test('an earlier file is kept; what is none is refused', async (t) => {
  const path = place(t);
  for (let i = 0; i < 2; i++) await (await opened(path)).close();
  assert.deepEqual(typesIn(`${path}.1`), [SECTION]);
  writeFileSync(path, 'PRIVATE KEY');
  await assert.rejects(opened(path), { code: 'record-file' });
  assert.equal(readFileSync(path, 'utf8'), 'PRIVATE KEY');
  rmSync(path);
  symlinkSync('/etc/passwd', path);
  await assert.rejects(opened(path), { code: 'record-file' });
  await assert.rejects(opened('/dev/full'), { code: 'record-file' });
});
