/**
 * A machine in memory: whole sessions run on it without root, from an application's packets to the
 * twin of an SSH connection.
 *
 *   const machine = new MemoryMachine();
 *   machine.twin.serve('10.1.2.3:80', (far) => far.pipe(far));
 *   const run = runConnect(configuration, machine.options());
 *   await machine.said('ready');
 *   await machine.request('10.1.2.3', 80, upload, download);
 *
 * Everything that a session asks of the machine is a step with a name, in the order of the calls. A
 * test may act at a step (`atStep`): stop the run, fail, or never go on. `standing` lists what the
 * session has made and not undone.
 */
import assert from 'node:assert/strict';
import { HEADER_BYTES, type PacketDevice } from '../../src/capture/tun/device.ts';
import type { TunDevice, TunHost } from '../../src/capture/tun/tun.ts';
import type { Configuration } from '../../src/config/configuration.ts';
import { buildConfiguration } from '../../src/config/options.ts';
import type { OtherTunnel } from '../../src/dns/server/neighbours.ts';
import type { NetworkContext, NetworkTargets } from '../../src/doctor/network.ts';
import { TunnelError } from '../../src/errors/errors.ts';
import type { DiallerOptions } from '../../src/link/dialler.ts';
import type { LinkDialler } from '../../src/link/link.ts';
import type { Supervisor } from '../../src/link/supervisor.ts';
import { formatPrefix, hostPrefix } from '../../src/net/prefix.ts';
import type { Fields, Level, Observer } from '../../src/observe/observer.ts';
import type { Machine } from '../../src/session/machine.ts';
import type { RunOptions } from '../../src/session/tunnel.ts';
import type { DialDevice } from '../../src/ssh/dial/device.ts';
import { nobody } from '../../src/ssh/prompter.ts';
import type { ForwardSettings } from '../../src/ssh/settings.ts';
import type { Finding } from '../../src/system/doctor/diagnosis.ts';
import type { Incoming } from '../../src/system/incoming.ts';
import type { CommandStatus, Launcher } from '../../src/system/launcher/launcher.ts';
import type { CommandUser } from '../../src/system/launcher/protocol.ts';
import { planResolver, type ResolverPlan } from '../../src/system/resolver/detect.ts';
import type { HostChange } from '../../src/system/resolver/hostchange.ts';
import type { KernelRouting } from '../../src/system/routing/kernel.ts';
import { ManualClock } from './manualclock.ts';
import { given, type OptionTexts } from './options.ts';
import { TcpClient } from './tcpclient.ts';
import { type ReadFrame, readFrame } from './tcpframes.ts';
import { TwinTransport } from './twin.ts';

const DEVICE4 = '198.18.0.1';
const DEVICE6 = '2001:2::1';
const APPLICATION = '192.168.7.2';
export const JUMP_HOST = '192.0.2.22';
/** Longer than any step takes. */
const PATIENCE_MS = 10_000;
const POLL_MS = 5;
const STEP_MS = 100;

export type StepAction = (name: string) => Promise<void> | undefined;

export interface RunningTunnel {
  readonly run: Promise<never>;
  readonly stop: () => Promise<void>;
}

export class MemoryMachine implements Machine {
  readonly clock = new ManualClock();
  /** The next link's twin. */
  twin = new TwinTransport();
  /** One entry for each call of the session, in order. */
  readonly steps: string[] = [];
  /** What the session has made and not undone. */
  readonly standing = new Set<string>();
  readonly messages: { readonly level: Level; readonly message: string }[] = [];
  readonly counters = new Map<string, number>();
  readonly tun = new MemoryTun();
  readonly stop = new AbortController();
  /** Routes, as `ip route` would show them. */
  routes: readonly string[] = [];
  /** Behind these. */
  unreachable: readonly string[] = [];
  incoming: Incoming = {
    loginPeers: () => Promise.resolve([]),
    connections: () => Promise.resolve([]),
    passedOnPorts: () => Promise.resolve([]),
  };
  /** What ssh_config says about fixed forwards; undefined: nothing. */
  forwards: ForwardSettings | undefined;
  /** What resolv.conf says. */
  resolvConfText = 'nameserver 127.0.0.1\n';
  atStep: StepAction = () => undefined;
  /** Ends the command of exec. */
  exit: (status: CommandStatus) => void = () => {};
  /** The launcher ends before it has become the command. */
  loseLauncher: (error: TunnelError) => void = () => {};
  /** The environment variables that exec gave its command. */
  variables: unknown;
  readonly #clients = new Set<TcpClient>();
  #link: Pick<Supervisor, 'disturbed'> | undefined;

  /** Parses the words of a command line. */
  static configuration(targets: readonly string[], options: OptionTexts = {}): Configuration {
    return buildConfiguration(given({ remote: ['user@jump.example'], ...options }, targets));
  }

  options(): RunOptions & { readonly machine: Machine } {
    return {
      observer: this.observer,
      prompter: nobody('nobody is asked here'),
      stop: this.stop.signal,
      learned: (list) => this.observer.log('notice', list),
      closeLimit: 300,
      machine: this,
    };
  }

  readonly observer: Observer = {
    log: (level: Level, message: string, _fields?: Fields) => {
      this.messages.push({ level, message });
    },
    count: (name: string, n = 1) => {
      this.counters.set(name, (this.counters.get(name) ?? 0) + n);
    },
  };

  /** Resolves when something is logged that contains `text`. */
  async said(text: string): Promise<void> {
    await until(() => this.messages.some(({ message }) => message.includes(text)), `"${text}"`);
  }

  /**
   * A tunnel that runs until it is stopped, once it has said `text` or failed. `stop` checks that
   * it ends as it was asked to, and leaves nothing.
   */
  async running(run: Promise<never>, text = 'ready'): Promise<RunningTunnel> {
    run.catch(() => {}); // looked at by stop(), or by the test
    await Promise.race([run, this.said(text)]);
    return {
      run,
      stop: async () => {
        this.stop.abort();
        await assert.rejects(run, (error) => error === this.stop.signal.reason);
        assert.deepEqual([...this.standing], []);
      },
    };
  }

  /** As where the kernel permits no namespaces: the first start of the launcher fails. */
  refuseNamespaces(): void {
    let refused = false;
    this.atStep = (step) => {
      if (step !== 'start the launcher' || refused) return undefined;
      refused = true;
      return Promise.reject(new TunnelError('namespace-refused', 'no namespaces here'));
    };
  }

  /** The network has changed, or the clock has jumped. */
  disturb(): void {
    this.#link?.disturbed('something has happened');
  }

  async #step(name: string): Promise<void> {
    this.steps.push(name);
    await this.atStep(name);
  }

  /** Time passes for the session and for the applications, in small steps. */
  async advance(milliseconds: number): Promise<void> {
    const end = this.clock.now() + milliseconds;
    while (this.clock.now() < end) {
      await this.clock.advance(Math.min(STEP_MS, end - this.clock.now()));
      for (const client of this.#clients) expire(client, this.clock.now());
    }
  }

  /** The machine's time passes meanwhile, as fast as the real one. */
  async #until(done: () => boolean, what: string): Promise<void> {
    let before = performance.now();
    await until(() => {
      const now = performance.now();
      void this.clock.advance(now - before);
      before = now;
      return done();
    }, what);
  }

  sayWho(): void {}

  async recover(): Promise<{ done: readonly string[]; failed: readonly string[] }> {
    return { done: [], failed: [] };
  }

  hasIPv6(): boolean {
    return true;
  }

  dialler({ deviceFor }: Pick<DiallerOptions, 'deviceFor'>): LinkDialler {
    this.deviceFor = deviceFor;
    const own = deviceFor === undefined ? [hostPrefix(JUMP_HOST)] : [];
    const servers = deviceFor === undefined ? [] : [{ host: JUMP_HOST, port: 22 }];
    return {
      ...(this.forwards === undefined ? {} : { forwards: this.forwards }),
      prepare: async () => {
        await this.#step('prepare');
        return ['jump.example'];
      },
      locate: async () => {
        await this.#step('locate');
        return { jumpHosts: [], own, servers, names: ['jump.example'] };
      },
      dial: async () => {
        await this.#step('dial');
        const { twin } = this;
        this.standing.add('link');
        void twin.ended.then(() => this.standing.delete('link'));
        return {
          connect: twin.connect.bind(twin),
          ended: twin.ended,
          channels: 0,
          close: async () => {
            await this.#step('close the link');
            await twin.close();
          },
        };
      },
    };
  }

  watch(link: Pick<Supervisor, 'disturbed'>): () => void {
    this.#link = link;
    this.standing.add('watch');
    return () => {
      this.#link = undefined;
      this.standing.delete('watch');
    };
  }

  async startHelper(): Promise<TunHost> {
    await this.#step('start the helper');
    this.standing.add('helper');
    let end: (error: TunnelError | undefined) => void = () => {};
    let closed = false;
    /** When it is closed, pending requests fail, as with the real one. */
    const ask = async (name: string): Promise<void> => {
      await this.#step(name);
      if (closed) throw new TunnelError('helper-lost', 'it was stopped');
    };
    const ended = new Promise<TunnelError | undefined>((resolve) => {
      end = resolve;
    });
    return {
      ended,
      create: async ({ ipv4, ipv6 }) => {
        await ask('create the device');
        return this.#device(ipv4 ? DEVICE4 : undefined, ipv6 ? DEVICE6 : undefined);
      },
      setRoutes: async (prefixes) => {
        await ask('set the routes');
        this.routes = prefixes.map(formatPrefix);
        this.standing.add('routes');
      },
      setUnreachable: async (prefixes) => {
        await ask('set what fails closed');
        this.unreachable = prefixes.map(formatPrefix);
        if (prefixes.length > 0) this.standing.add('unreachable routes');
        else this.standing.delete('unreachable routes');
      },
      close: async () => {
        closed = true;
        await this.#step('close the helper');
        this.routes = [];
        for (const what of ['routes', 'helper']) this.standing.delete(what);
        end(undefined);
      },
    };
  }

  readonly sockets = {
    socketOnDevice: () => {
      throw new Error('nothing goes directly here');
    },
    datagramSocketOnDevice: () => {
      throw new Error('nothing goes directly here');
    },
  };

  /** Whether sockets can be bound to devices. */
  binds = false;
  /** How the dialler was told to bind them. */
  deviceFor: DialDevice | undefined;

  bindsSockets(): boolean {
    return this.binds;
  }

  /** Whether the kernel filters strictly. */
  filters = false;

  filtersReversePath(): boolean {
    return this.filters;
  }

  #device(address4: string | undefined, address6: string | undefined): TunDevice {
    this.standing.add('device');
    const { tun } = this;
    tun.onClose = () => this.standing.delete('device');
    return { name: 'tun7', address4, address6, open: () => tun, discard: () => tun.close() };
  }

  async startLauncher(): Promise<Launcher> {
    await this.#step('start the launcher');
    this.standing.add('launcher');
    const exited = new Promise<CommandStatus>((resolve) => {
      this.exit = resolve;
    });
    void exited.then(() => this.standing.delete('launcher'));
    let end: (error: TunnelError | undefined) => void = () => {};
    const ended = new Promise<TunnelError | undefined>((resolve) => {
      end = resolve;
    });
    this.loseLauncher = end;
    return {
      ended,
      network: { device: 'tun7', hasIPv6: true, hasResolvConf: true },
      takeTun: () => {
        throw new Error('launchedDevice() is asked for it');
      },
      command: { pid: 0, exited, kill: () => this.exit({ status: null, signal: 'SIGTERM' }) },
      user: { uid: process.getuid?.() ?? 0, gid: 0 } as CommandUser,
      execute: async (variables) => {
        await this.#step('execute');
        this.variables = variables;
        end(undefined);
      },
      close: () => {
        this.standing.delete('launcher');
        end(undefined);
      },
    };
  }

  startInPlace(): Promise<Launcher> {
    return this.startLauncher();
  }

  launchedDevice(): TunDevice {
    return this.#device(DEVICE4, DEVICE6);
  }

  hideMemory(): void {}

  becomeUser(): Record<string, string> {
    return {};
  }

  /** Everything goes to the tunnel's device. */
  routing: KernelRouting = {
    routes: () => [],
    rules: () => [],
    networks: () => [],
    lookUp: ({ address }) => ({
      destination: hostPrefix(address),
      table: 254,
      protocol: 116,
      type: 1,
      device: 7,
      byGateway: false,
      gateway: undefined,
      metric: 0,
    }),
    deviceName: (index) => (index === 7 ? 'tun7' : undefined),
    devices: () => [{ index: 7, name: 'tun7' }],
  };

  /** What the machine would say about its network. */
  findings: readonly Finding[] = [];

  /** What was said about each look at it. */
  readonly looked: NetworkContext[] = [];

  lookAtNetwork(_targets: NetworkTargets, context: NetworkContext): Promise<readonly Finding[]> {
    this.looked.push(context);
    return Promise.resolve(this.findings);
  }

  resolverPlan(): ResolverPlan {
    return planResolver({
      resolvConf: this.resolvConfText,
      resolved: false,
      resolvedUplinks: undefined,
      nsswitch: undefined,
      filtersReversePath: false,
    });
  }

  resolverConfiguration(): { resolvers: string[]; lines: string[] } {
    return { resolvers: ['127.0.0.1'], lines: [] };
  }

  otherTunnels(): readonly OtherTunnel[] {
    return [];
  }

  resolvConf(): HostChange {
    return this.#change('resolv.conf');
  }

  resolved(): HostChange {
    return this.#change('systemd-resolved');
  }

  #change(what: string): HostChange {
    return {
      describe: () => what,
      apply: async () => {
        await this.#step(`change ${what}`);
        this.standing.add(what);
      },
      undo: async () => {
        await this.#step(`put back ${what}`);
        this.standing.delete(what);
      },
    };
  }

  /** What /etc/hosts says, and who wants to know of changes. */
  hostsText = '127.0.0.1 localhost\n';
  hostsChanged: () => void = () => {};

  nsswitchText = 'hosts: files dns\n';
  asksResolved = false;

  async hostsFile(): Promise<{ hosts: string; nsswitch: string; asksResolved: boolean }> {
    await Promise.resolve();
    const { hostsText, nsswitchText, asksResolved } = this;
    return { hosts: hostsText, nsswitch: nsswitchText, asksResolved };
  }

  watchHostsFile(changed: () => void): () => void {
    this.hostsChanged = changed;
    this.standing.add('watch of /etc/hosts');
    return () => this.standing.delete('watch of /etc/hosts');
  }

  watchResolvers(): () => void {
    this.standing.add('watch of resolv.conf');
    return () => this.standing.delete('watch of resolv.conf');
  }

  /**
   * An application connects, sends all of `upload`, reads `download`, and ends. Rejects when the
   * connection is refused or reset, with what the device has answered: `R.`, or `icmp`.
   */
  async request(host: string, port: number, upload: Buffer, download: Buffer): Promise<void> {
    const sourcePort = this.tun.freePort();
    let answer: string | undefined;
    const client = new TcpClient({
      tuple: { source: APPLICATION, destination: host, sourcePort, destinationPort: port },
      isn: 1000,
      clock: () => this.clock.now(),
      transmit: (frame) => this.tun.give(frame),
      timestamps: true,
      scale: 7,
      mss: 1460,
      frameBytes: 16_384,
      upload,
      download,
      buffer: 256 * 1024,
      reassembles: true,
      automatic: true,
      endsLast: false,
    });
    const input = (frame: ReadFrame): void => {
      if (frame.kind === 'icmp') answer = 'icmp';
      else if (frame.kind !== 'tcp') return;
      else if (frame.flags.includes('R')) answer = frame.flags;
      else client.input(frame);
    };
    this.tun.listen(sourcePort, input);
    this.#clients.add(client);
    client.connect();
    await this.#until(() => {
      if (answer !== undefined) throw new Error(answer);
      expire(client, this.clock.now());
      return client.finished;
    }, `the end of ${host}:${port}`);
  }
}

/** The device in memory: it reads the applications' frames, and its output goes to them. */
export class MemoryTun implements PacketDevice {
  readonly mtu = 65_520;
  readonly header = Buffer.alloc(HEADER_BYTES);
  readonly #waiting: Buffer[] = [];
  readonly #applications = new Map<number, (frame: ReadFrame) => void>();
  #ports = 40_000;
  #onReadable: (errno: number) => void = () => {};
  onClose: () => void = () => {};
  closed = false;
  /** Applications hear and say nothing any more. */
  deaf = false;
  /** Whether a frame is lost on its way, in either direction. */
  loses: () => boolean = () => false;

  start(onReadable: (errno: number) => void): void {
    this.#onReadable = onReadable;
  }

  read(into: Buffer): number {
    return this.#waiting.shift()?.copy(into) ?? 0;
  }

  write(length: number, ...parts: (Buffer | undefined)[]): void {
    const rest = parts.filter((part) => part !== undefined);
    const frame = readFrame(Buffer.concat([this.header.subarray(0, length), ...rest]));
    const port = destinationPort(frame);
    // As with a kernel, written frames are processed later.
    setImmediate(() => {
      if (!this.deaf && !this.loses()) this.#applications.get(port)?.(frame);
    });
  }

  close(): void {
    this.closed = true;
    this.onClose();
  }

  /** An application's frame. */
  give(frame: Buffer): void {
    setImmediate(() => {
      if (this.closed || this.deaf || this.loses()) return;
      this.#waiting.push(frame);
      this.#onReadable(0);
    });
  }

  /** The device is taken away. */
  take(errno: number): void {
    this.#onReadable(errno);
  }

  freePort(): number {
    this.#ports += 1;
    return this.#ports;
  }

  /** Frames to this port of the application, and ICMP errors about its packets. */
  listen(port: number, onFrame: (frame: ReadFrame) => void): void {
    this.#applications.set(port, onFrame);
  }
}

/** The application's port; for an ICMP error, that of the quoted packet. */
function destinationPort(frame: ReadFrame): number {
  if (frame.kind === 'icmp') return frame.quoted.readUInt16BE(frame.family === 4 ? 20 : 40);
  return frame.destinationPort;
}

function expire(client: TcpClient, now: number): void {
  if (now >= client.deadline) client.expire();
}

export async function until(done: () => boolean, what: string): Promise<void> {
  const begin = performance.now();
  while (!done()) {
    if (performance.now() - begin > PATIENCE_MS) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
