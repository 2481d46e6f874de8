/** The kernel's routing in memory: rules in order, in each table the longest prefix. */
import { formatPrefix, hostPrefix, parsePrefix, prefixContains } from '../../src/net/prefix.ts';
import type { KernelRouting } from '../../src/system/routing/kernel.ts';
import type {
  ConnectedNetwork,
  KernelDevice,
  KernelRoute,
  KernelRule,
  Sample,
} from '../../src/system/routing/rtnetlink.ts';

const ENETUNREACH = 101;
const EHOSTUNREACH = 113;
const DEVICES = ['lo', 'eth0', 'wlan0', 'wg0', 'tun0', 'tun1', 'tun7'];

export class FakeRouting implements KernelRouting {
  readonly all: KernelRoute[] = [];
  readonly policy: KernelRule[] = [];
  readonly addresses: ConnectedNetwork[] = [];
  /** How often the kernel was asked where something leads. */
  lookUps = 0;

  /** As in `10.0.0.0/8 via 192.0.2.1 dev eth0`; the first of the same prefix wins. */
  add(text: string, more: Partial<KernelRoute> = {}): this {
    const [destination = '', ...words] = text.split(' ');
    const after = (word: string) => words[words.indexOf(word) + 1];
    const gateway = words.includes('via') ? after('via') : undefined;
    this.all.push({
      destination: parsePrefix(destination).prefix,
      table: 254,
      protocol: 3,
      type: 1,
      device: DEVICES.indexOf(after('dev') ?? 'eth0'),
      byGateway: gateway !== undefined,
      gateway,
      metric: 0,
      ...more,
    });
    return this;
  }

  remove(text: string): this {
    const kept = this.all.filter(({ destination }) => formatPrefix(destination) !== text);
    this.all.splice(0, this.all.length, ...kept);
    return this;
  }

  address(prefix: string, device: string): this {
    this.addresses.push({ prefix: parsePrefix(prefix).prefix, device: DEVICES.indexOf(device) });
    return this.add(`${prefix} dev ${device}`, { protocol: 2 });
  }

  rule(priority: number, table: number, more: Partial<KernelRule> = {}): this {
    const nothing = { source: undefined, destination: undefined, mark: undefined };
    const anybody = {
      uid: undefined,
      port: undefined,
      inverted: false,
      suppressedLength: undefined,
    };
    this.policy.push({ family: 4, priority, table, action: 1, ...nothing, ...anybody, ...more });
    return this;
  }

  routes(family: 4 | 6): KernelRoute[] {
    return this.all.filter(({ destination }) => destination.family === family);
  }

  rules(family: 4 | 6): KernelRule[] {
    return this.policy.filter((rule) => rule.family === family);
  }

  networks(family: 4 | 6): ConnectedNetwork[] {
    return this.addresses.filter(({ prefix }) => prefix.family === family);
  }

  lookUp({ address, uid, port, source, device }: Sample): KernelRoute | number {
    this.lookUps += 1;
    const host = hostPrefix(address);
    const from = source === undefined ? undefined : hostPrefix(source);
    const rules = this.rules(host.family).filter((rule) => {
      const applies =
        (rule.destination === undefined || prefixContains(rule.destination, host)) &&
        (rule.source === undefined || (from !== undefined && prefixContains(rule.source, from))) &&
        (rule.mark === undefined || rule.mark === 0) &&
        (rule.uid === undefined || rule.uid === uid) &&
        (rule.port === undefined || rule.port === port);
      return applies !== rule.inverted;
    });
    for (const rule of [...rules, { table: 254, action: 1, suppressedLength: -1 }]) {
      if (rule.action !== 1) return EHOSTUNREACH;
      const [best] = this.all
        .filter((one) => one.table === rule.table && prefixContains(one.destination, host))
        .filter((one) => device === undefined || one.type > 5 || one.device === device)
        .toSorted((a, b) => b.destination.length - a.destination.length || a.metric - b.metric);
      if (best !== undefined && best.destination.length <= (rule.suppressedLength ?? -1)) continue;
      if (best !== undefined) return best.type > 5 ? EHOSTUNREACH : best;
    }
    return ENETUNREACH;
  }

  deviceName(index: number): string | undefined {
    return DEVICES[index];
  }

  devices(): KernelDevice[] {
    return DEVICES.map((name, index) => ({ name, index }));
  }
}
