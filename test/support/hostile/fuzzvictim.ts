/**
 * The embedded client for the fuzzer: `node fuzzvictim.js PIN COUNT PORT...` dials COUNT times at
 * each port, one after the other, opens a connection in each link and ends it. Prints a line for
 * each dial that ends otherwise than it may, as JSON, and at the end `done`, the peak memory in MiB
 * and how often each outcome was. Anything uncaught ends it with a stack.
 */
import { TunnelError } from '../../../src/errors/errors.ts';
import { ConnectError } from '../../../src/flow/connector.ts';
import { silentObserver } from '../../../src/observe/observer.ts';
import { Authenticator } from '../../../src/ssh/embedded/auth/authenticator.ts';
import { dialSsh2 } from '../../../src/ssh/embedded/handshake/dial.ts';
import { createHostKeyVerifier } from '../../../src/ssh/hostkeys/verifier.ts';
import { Answers, authenticationSettings, pinned, testSettings } from '../settings.ts';
import { FAULT_HOST } from './server.ts';

/** A dial has its own limits below this. */
const STUCK_MS = 15_000;
/** For what comes when the connection has been opened. */
const LINGER_MS = 20;
const EXPECTED = /^(jumphost|host-key|auth|link|connect|window)-|^no-terminal$/;

const outcomes: Record<string, number> = {};
const [pin = '', count = '0', ...ports] = process.argv.slice(2);

async function dial(port: number): Promise<void> {
  const settings = testSettings({
    hostName: '127.0.0.1',
    port,
    user: 'me',
    connectTimeout: 0.4,
    authTimeout: 0.4,
    authentication: authenticationSettings([], {
      identitiesOnly: true,
      methods: ['publickey', 'keyboard-interactive', 'password'],
    }),
  });
  const link = await dialSsh2({
    jumpHosts: [{ settings, addresses: [{ host: '127.0.0.1', port }] }],
    access: async () => ({
      hostKeys: createHostKeyVerifier(pinned(pin), {
        prompter: undefined,
        observer: silentObserver,
      }),
      authenticator: await Authenticator.load({
        settings: settings.authentication,
        home: '/nonexistent',
        prompter: new Answers(),
        observer: silentObserver,
      }),
    }),
    observer: silentObserver,
  });
  try {
    const signal = AbortSignal.timeout(200);
    const channel = await link.connect({ host: FAULT_HOST, port: 7 }, { signal });
    channel.join({
      received: 0,
      join() {},
      whenOver() {},
      send: (data) => channel.taken(data.length),
      finish() {},
      taken() {},
      shut() {},
      abort() {},
    });
    channel.send(Buffer.from('hello'), undefined);
    await new Promise((resolve) => setTimeout(resolve, LINGER_MS));
  } catch (error) {
    if (!(error instanceof ConnectError) && (error as Error).name !== 'TimeoutError') throw error;
  } finally {
    await link.close();
  }
}

/** Rejects when `attempt` takes longer than it may. */
async function inTime(attempt: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const stuck = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('stuck')), STUCK_MS);
  });
  try {
    await Promise.race([attempt, stuck]);
  } finally {
    clearTimeout(timer);
  }
}

await Promise.all(
  ports.map(async (port) => {
    for (let number = 0; number < Number(count); number++) {
      try {
        await inTime(dial(Number(port)));
        outcomes['up'] = (outcomes['up'] ?? 0) + 1;
      } catch (error) {
        const code = error instanceof TunnelError ? error.code : 'other';
        outcomes[code] = (outcomes[code] ?? 0) + 1;
        if (error instanceof TunnelError && EXPECTED.test(error.code)) continue;
        const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
        process.stdout.write(`${JSON.stringify({ port: Number(port), number, what })}\n`);
      }
    }
  }),
);
const { maxRSS } = process.resourceUsage();
process.stdout.write(`done ${Math.round(maxRSS / 1024)} ${JSON.stringify(outcomes)}\n`);
process.exit();
