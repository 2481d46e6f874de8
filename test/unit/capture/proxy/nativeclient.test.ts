/** Clients whose sockets belong to the native part, as ends of flows: with real sockets. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, afterEach, before, describe, it } from 'node:test';
import { Admission } from '../../../../src/capture/proxy/admission.ts';
import type { NativeClient } from '../../../../src/capture/proxy/nativeclient.ts';
import { NativeClients } from '../../../../src/capture/proxy/nativelistener.ts';
import type { Conduit, OverListener } from '../../../../src/flow/conduit.ts';
import { type Slab, SlabPool } from '../../../../src/flow/memory.ts';
import { addon } from '../../../../src/native/addon.ts';
import { silentObserver } from '../../../../src/observe/observer.ts';

const HIGH_WATER = 256 * 1024;
const READ_BYTES = 64 * 1024;

/** The far side: notes what it is told, and takes what it gets at once or when it is told to. */
class Far implements Conduit {
  received = 0;
  readonly said: string[] = [];
  readonly chunks: Buffer[] = [];
  takes = true;
  bytes = 0;
  takenBytes = 0;
  #near: Conduit | undefined;
  #untaken = 0;
  #wake: () => void = () => {};

  join(near: Conduit): void {
    this.#near = near;
  }

  whenOver(_listener: OverListener): void {}

  send(data: Buffer, _memory: Slab | undefined): void {
    this.chunks.push(Buffer.from(data));
    this.bytes += data.length;
    this.#untaken += data.length;
    if (this.takes) this.takeAll();
    this.#wake();
  }

  takeAll(): void {
    const bytes = this.#untaken;
    this.#untaken = 0;
    this.#near?.taken(bytes);
  }

  finish(): void {
    this.#say('finish');
  }

  taken(bytes: number): void {
    this.takenBytes += bytes;
    this.#wake();
  }

  shut(): void {
    this.#say('shut');
  }

  abort(error: Error | undefined): void {
    this.#say(`abort ${error instanceof Error && 'code' in error ? error.code : '-'}`);
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #say(what: string): void {
    this.said.push(what);
    this.#wake();
  }
}

interface Joined {
  readonly application: Socket;
  readonly near: NativeClient;
  readonly far: Far;
  /** Resolves when the near end is over. */
  readonly over: Promise<Error | undefined>;
}

/**
 * Writes until it is told that nobody takes it: libuv watches no socket that has been read to its
 * end.
 */
async function refused(application: Socket): Promise<string> {
  let code = '';
  application.once('error', (error: NodeJS.ErrnoException) => {
    code = error.code ?? '?';
  });
  while (code === '') {
    application.write('?');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return code;
}

describe('a client of the native part', { timeout: 20_000 }, () => {
  let clients: NativeClients;
  let listener: { readonly port: number; readonly close: () => void };
  let accepted: (client: NativeClient, user: number | undefined) => void = () => {};
  const admission = new Admission({ observer: silentObserver, descriptors: 1000 });
  const applications: Socket[] = [];

  before(() => {
    clients = new NativeClients({ native: addon(), admission, observer: silentObserver });
    const at = { host: '127.0.0.1', port: 0 };
    listener = clients.listen(at, { backlog: 16, asks: true }, (client, user) => {
      client.follow({ octets() {}, end: () => client.destroy() });
      accepted(client, user);
    });
  });
  afterEach(() => {
    for (const application of applications.splice(0)) application.destroy();
  });
  after(async () => {
    listener.close();
    await admission.close();
    clients.end();
  });

  async function open(): Promise<readonly [Socket, NativeClient, number | undefined]> {
    const client = new Promise<readonly [NativeClient, number | undefined]>((resolve) => {
      accepted = (...found) => {
        found[0].hold(Buffer.alloc(0));
        resolve(found);
      };
    });
    const application = connect({ port: listener.port, host: '127.0.0.1', allowHalfOpen: true });
    application.on('error', () => {}); // the test looks at how it ends
    applications.push(application);
    await once(application, 'connect');
    return [application, ...(await client)];
  }

  async function joined(): Promise<Joined> {
    const [application, near] = await open();
    const far = new Far();
    assert.equal(near.open(Buffer.from('!')), near);
    const over = new Promise<Error | undefined>((resolve) => near.whenOver(resolve));
    near.join(far);
    far.join(near);
    const [reply] = await once(application, 'data');
    assert.equal(String(reply), '!');
    return { application, near, far, over };
  }

  it('is known by its addresses and its user', async () => {
    const [application, near, user] = await open();
    assert.deepEqual(near.source, { host: '127.0.0.1', port: application.localPort });
    assert.deepEqual(near.proxyEnd, { host: '127.0.0.1', port: listener.port });
    assert.equal(user, process.getuid?.());
  });

  it('is read no further than the far side takes, and then to the end', async () => {
    const { application, near, far, over } = await joined();
    far.takes = false;
    const sent = Buffer.alloc(8 * 1024 * 1024, 'upload ');
    application.end(sent);
    await far.until(() => far.bytes >= HIGH_WATER);
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.ok(far.bytes < HIGH_WATER + READ_BYTES, String(far.bytes));
    far.takes = true;
    far.takeAll();
    await far.until(() => far.said.includes('finish'));
    assert.ok(Buffer.concat(far.chunks).equals(sent));
    assert.equal(near.received, sent.length);
    near.finish();
    assert.equal(await over, undefined);
  });

  it('gets all that is sent, however slowly it reads, and nothing is kept after that', async () => {
    const { application, near, far, over } = await joined();
    application.pause();
    const pool = new SlabPool(READ_BYTES, 1000);
    const slabs = Array.from({ length: 200 }, (_, index) => {
      const slab = pool.take();
      slab.bytes.fill(index);
      return slab;
    });
    for (const slab of slabs) near.send(slab.bytes, slab);
    near.finish();
    assert.ok(far.takenBytes < slabs.length * READ_BYTES, 'the socket has taken everything');
    const chunks: Buffer[] = [];
    application.on('data', (chunk: Buffer) => chunks.push(chunk));
    application.resume();
    await once(application, 'end');
    assert.equal(far.takenBytes, slabs.length * READ_BYTES);
    const received = Buffer.concat(chunks);
    assert.equal(received.length, slabs.length * READ_BYTES);
    for (const [index] of slabs.entries())
      assert.equal(received[index * READ_BYTES + READ_BYTES / 2], index % 256);
    for (const slab of slabs) assert.ok(!slab.shared);
    application.end('and back');
    assert.equal(await over, undefined);
    assert.deepEqual(far.said, ['finish']);
    assert.equal(Buffer.concat(far.chunks).toString(), 'and back');
  });

  it('passes a reset on, and is reset itself', async () => {
    const first = await joined();
    first.application.resetAndDestroy();
    const error = await first.over;
    assert.ok(error !== undefined && 'code' in error && error.code === 'ECONNRESET');
    assert.deepEqual(first.far.said, ['abort ECONNRESET']);
    // It ignores calls from now on, but what is sent to it counts as taken.
    first.near.send(Buffer.from('late'), undefined);
    first.near.finish();
    assert.equal(first.far.takenBytes, 4);

    const second = await joined();
    const failed = once(second.application, 'error');
    second.near.abort(new Error('the far side is lost'));
    const [{ code }] = await failed;
    assert.equal(code, 'ECONNRESET');
    assert.equal((await second.over)?.message, 'the far side is lost');
    assert.deepEqual(second.far.said, []);
  });

  it('that resets after its end takes no more, and what it sent stays sent', async () => {
    const { application, far, over } = await joined();
    application.end('all');
    await far.until(() => far.said.includes('finish'));
    application.resetAndDestroy();
    await far.until(() => far.said.length === 2);
    assert.deepEqual(far.said, ['finish', 'shut']);
    assert.notEqual(await over, undefined);
  });

  it('is reset if it sends to who has gone, once it has got everything', async () => {
    const { application, near, far, over } = await joined();
    const received = once(application, 'data');
    near.send(Buffer.from('last words'), undefined);
    near.shut();
    application.write('for nobody');
    await new Promise((resolve) => setTimeout(resolve, 30));
    assert.ok(!near.closed);
    near.finish();
    assert.equal(String((await received)[0]), 'last words');
    assert.match(await refused(application), /^(EPIPE|ECONNRESET)$/);
    await over;
    assert.equal(far.bytes, 0);
  });

  it('keeps what it sends early, and is seen to leave', async () => {
    const [application, near] = await open();
    application.write('early');
    await new Promise((resolve) => setTimeout(resolve, 30));
    const far = new Far();
    near.open(Buffer.from('!'));
    near.join(far);
    far.join(near);
    await far.until(() => far.bytes === 5);

    for (const leave of ['end', 'resetAndDestroy'] as const) {
      const [other, waiting] = await open();
      const left = new Promise<void>((resolve) =>
        waiting.follow({ octets: () => assert.fail('it is held'), end: resolve }),
      );
      other[leave]();
      await left;
      waiting.destroy();
    }
  });
});
