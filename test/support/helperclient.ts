/**
 * A program that uses the privileged helper as the tunnel does, for tests to steer: `node
 * helperclient.js [COMMANDS]` reads one JSON request a line from standard input, or from the pipe
 * COMMANDS where standard input is a terminal, and answers each with a line `< {"id", "result" |
 * "error"}`. It ends when its input does. Lines `! {...}` are events.
 *
 *   start [path]                    startHelper(), by default with the helper that it finds; {pid}
 *   start-unit SOCKET path          the same, by a systemd that listens there, else by itself
 *   start-until MS path             the same, aborted after that time
 *   create {ipv4, ipv6, mtu}        the device
 *   routes PREFIX...                setRoutes()
 *   unreachable PREFIX...           setUnreachable()
 *   close-during PREFIX...          close() right after setRoutes(); the latter's error
 *   close                           close(), then the device's descriptor
 *   with-device COMMAND...          a process with the device as its descriptor 3; its status
 *   keep-device COMMAND...          the same, which isn't waited for: {pid}
 *   uplink ADDRESS EXCLUDE          uplinkDevice(), by name or null
 *   listen PATH                     only the link, at PATH; nobody is started
 *   serve HELPER                    the link, and the helper started directly: {pid} once it has
 *                                   said hello
 *   send HEX                        a message over the link, as it is
 *   answer                          the next message of the link, decoded, with {fd: true} if a
 *                                   descriptor came; `end` after the last
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, createReadStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { TunnelError } from '../../src/errors/errors.ts';
import { addon, type LinkHandle } from '../../src/native/addon.ts';
import { family } from '../../src/net/address.ts';
import type { RoutedPrefix } from '../../src/net/prefix.ts';
import type { Fields, Observer } from '../../src/observe/observer.ts';
import { type Helper, type HelperDevice, startHelper } from '../../src/system/helper/helper.ts';
import { decodeMessage, type HelperMessage } from '../../src/system/helper/protocol.ts';
import { linuxRouting } from '../../src/system/routing/kernel.ts';
import { uplinkDevice } from '../../src/system/routing/uplink.ts';

interface Request {
  readonly id: number;
  readonly op: string;
  readonly args: readonly string[];
}

type LinkEvent =
  | { readonly end: number }
  | { readonly message: HelperMessage | undefined; readonly fd: boolean };

let helper: Helper | undefined;
let device: HelperDevice | undefined;
let helperPid: unknown;
let link: LinkHandle | undefined;
const events: LinkEvent[] = [];
let wake: () => void = () => {};

const observer: Observer = {
  log(level, message: string, fields: Fields = {}) {
    if (level === 'warning' || level === 'notice' || level === 'info')
      process.stdout.write(`! ${JSON.stringify({ [level]: message })}\n`);
    if (message === 'the helper is connected') helperPid = fields['pid'];
  },
  count() {},
};

/** Parses `10.0.0.0/8`; unlike the program's own parser it keeps host bits. */
/** `192.0.2.1/32=shared`: other tunnels may have it as well. `=preferred` is an override. */
function prefix(text: string): RoutedPrefix {
  const [address = '', length = '', ...marks] = text.split(/[/=]/);
  return {
    family: family(address),
    address,
    length: Number(length),
    ...(marks.includes('shared') ? { shared: true } : {}),
    ...(marks.includes('preferred') ? { preferred: true } : {}),
  };
}

function releaseDevice(): void {
  if (device !== undefined) closeSync(device.fd);
  device = undefined;
}

function listen(path: string): void {
  link = addon().linkListen(path, (bytes, fd, errno) => {
    // A descriptor stays open, so only the helper can end the device.
    events.push(bytes === null ? { end: errno } : { message: decodeMessage(bytes), fd: fd !== -1 });
    wake();
  });
}

async function answer(): Promise<unknown> {
  while (events.length === 0) {
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
  return events.shift();
}

async function serve(path: string): Promise<unknown> {
  const directory = await mkdtemp(join(tmpdir(), 'tunnel-'));
  try {
    listen(join(directory, 'helper'));
    const child = spawn(path, [join(directory, 'helper')], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: {},
    });
    await once(child, 'close');
    return await answer();
  } finally {
    await rm(directory, { recursive: true });
  }
}

function required<T>(part: T | undefined): T {
  if (part === undefined) throw new Error('not started');
  return part;
}

async function handle({ op, args }: Request): Promise<unknown> {
  const [first = '', second = '', third = ''] = args;
  switch (op) {
    case 'start':
    case 'start-unit':
      helper = await startHelper({
        observer,
        ...(op === 'start-unit' ? { unitSocket: first, path: second } : {}),
        ...(op === 'start' && first !== '' ? { path: first } : {}),
      });
      void helper.ended.then((error) => {
        // Like the capture: it gives the device up when the helper is gone.
        releaseDevice();
        if (error !== undefined)
          process.stdout.write(`! ${JSON.stringify({ reason: error.message })}\n`);
        process.stdout.write(`! ${JSON.stringify({ ended: error?.code ?? null })}\n`);
      });
      return { pid: helperPid };
    case 'start-until':
      return startHelper({ observer, signal: AbortSignal.timeout(Number(first)), path: second });
    case 'create': {
      const families = { ipv4: first === 'true', ipv6: second === 'true' };
      device = await required(helper).create({ ...families, mtu: Number(third) });
      return device;
    }
    case 'routes':
      return required(helper).setRoutes(args.map(prefix));
    case 'unreachable':
      return required(helper).setUnreachable(args.map(prefix));
    case 'close-during': {
      const routes = required(helper)
        .setRoutes(args.map(prefix))
        .then(
          () => 'done',
          (error: unknown) => (error instanceof TunnelError ? error.code : String(error)),
        );
      await required(helper).close();
      releaseDevice();
      return routes;
    }
    case 'close':
      await required(helper).close();
      return releaseDevice();
    case 'with-device': {
      const stdio = ['ignore', 'ignore', 'inherit', required(device).fd] as const;
      const [status] = await once(spawn(first, args.slice(1), { stdio: [...stdio] }), 'close');
      return status;
    }
    case 'keep-device': {
      const stdio = ['ignore', 'ignore', 'ignore', required(device).fd] as const;
      const keeper = spawn(first, args.slice(1), { stdio: [...stdio], detached: true });
      keeper.unref();
      return { pid: keeper.pid };
    }
    case 'uplink':
      return uplinkDevice(linuxRouting, { address: first }, second);
    case 'listen':
      return listen(first);
    case 'serve':
      return serve(first);
    case 'send':
      return addon().linkSend(required(link), Buffer.from(first, 'hex'));
    case 'answer':
      return answer();
    default:
      throw new Error(`unknown request ${op}`);
  }
}

const [, , commands] = process.argv;
const input = commands === undefined ? process.stdin : createReadStream(commands);
process.stdout.write('! {"ready":true}\n');
for await (const line of createInterface({ input })) {
  const request = JSON.parse(line) as Request;
  if (request.op === 'quit') break;
  let outcome: object;
  try {
    outcome = { result: (await handle(request)) ?? null };
  } catch (error) {
    const { code, hint } =
      error instanceof TunnelError ? error : { code: undefined, hint: undefined };
    outcome = {
      error: { code, message: error instanceof Error ? error.message : String(error), hint },
    };
  }
  process.stdout.write(`< ${JSON.stringify({ id: request.id, ...outcome })}\n`);
}
process.exit(0);
