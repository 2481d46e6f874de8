/**
 * ssh_config files at random, from a seed: sections, settings, odd spellings, mistakes. What ssh
 * makes of them is for ssh to say.
 */

/** Numbers from 0 to below `below`, the same for the same seed (mulberry32). */
export function randomNumbers(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

export interface GeneratedConfig {
  readonly main: string;
  /** The files that it includes, by the number in `INCLUDED(n)` of its text. */
  readonly included: readonly string[];
  readonly host: string;
  readonly user: string | undefined;
  readonly port: number | undefined;
  readonly sshOptions: readonly string[];
}

/** In the place of the path of an included file. */
export const INCLUDED = /INCLUDED\((\d)\)/g;

/** Otherwise most hops would be reached through themselves. */
const HOPS = 'Host hop first last\nProxyJump none\nProxyCommand none\nHost *\n';
const HOSTS = ['a', 'A', 'b', 'a.lab.test', 'gw-1', '61', 'h'];
const PATTERNS = [
  'a',
  'A',
  'b',
  '*',
  'a*',
  '*.lab.test',
  'gw-?',
  '!b',
  '!a',
  'h',
  '61',
  '"a"',
  'x',
];
const USERS = ['u', 'v', 'u*', '!v', '*'];
const SETTINGS = [
  'HostName h',
  'HostName %h.lab.test',
  'HostName H.Lab.Test',
  'HostName 10.1',
  'HostName 192.0.2.7',
  'User u',
  'User v',
  'User "u v"',
  'Port 7',
  'Port=8',
  'Port = 9',
  'port "10"',
  'IdentityFile ~/k1',
  'IdentityFile /k2',
  'IdentityFile "/k 3"',
  'IdentityFile k4',
  'IdentityFile none',
  'IdentitiesOnly yes',
  'IdentitiesOnly no',
  'HostKeyAlias alias',
  'UserKnownHostsFile /dev/null',
  'UserKnownHostsFile /x/kh /x/kh2',
  'UserKnownHostsFile none',
  'GlobalKnownHostsFile /x/g',
  'StrictHostKeyChecking yes',
  'StrictHostKeyChecking accept-new',
  'StrictHostKeyChecking No',
  'ConnectTimeout 20',
  'ConnectTimeout 1m',
  'ConnectTimeout none',
  'ServerAliveInterval 60',
  'ServerAliveInterval 0',
  'ServerAliveCountMax 5',
  'AddressFamily inet',
  'BindAddress 127.0.0.9',
  'NumberOfPasswordPrompts 1',
  'BatchMode yes',
  'HashKnownHosts yes',
  'PasswordAuthentication no',
  'KbdInteractiveAuthentication no',
  'ChallengeResponseAuthentication yes',
  'PreferredAuthentications password,publickey',
  'ProxyCommand nc %h %p # no comment',
  'ProxyCommand none',
  'ProxyJump hop',
  'ProxyJump u@first,hop:2222',
  'ProxyJump none',
  'ProxyJump hop,last # through two',
  'Port 12 # a comment',
  "User 'q u'",
  'User q\\u',
  'IdentityFile /k\\ 5',
  'IdentityFile /k#6',
  'HostKeyAlias None',
  'IdentityFile ~root/k7',
  'CertificateFile /c',
  'TCPKeepAlive no',
  'RekeyLimit 1G 1h',
  'RekeyLimit 1.5G',
  'ProxyCommand = = nc %h',
  'NumberOfPasswordPrompts +2',
  'PubkeyAuthentication unbound',
];
const NOISE = [
  'ForwardAgent yes',
  'Protocol 2',
  'UseRoaming no',
  'Cipher blowfish x',
  'IgnoreUnknown Foo*,bar',
  'LocalForward 1 h:2',
  'Compression yes',
  'ControlMaster auto',
  '# a comment',
  '',
  '\tVisualHostKey no  ',
];
const MISTAKES = [
  'HostName a b',
  'User a b',
  'Port x',
  'Port 0',
  'Port',
  'Prot 3',
  'FooBar 1',
  'User "u',
  "User 'u",
  'User ""',
  'IdentitiesOnly maybe',
  'ServerAliveCountMax -1',
  'ConnectTimeout soon',
  'UserKnownHostsFile none /x',
  'StrictHostKeyChecking perhaps',
  'Host ""',
  'Match',
  'Match host',
  'Match host a user u all',
  'Match all host a',
  'Match colour blue',
  'Compression perhaps',
  'ProxyJump -x',
  'ProxyJump a b',
  'ProxyJump a,,b',
  'Port 65536',
  'RekeyLimit 1X',
  'RekeyLimit 1G soon',
  'NumberOfPasswordPrompts x',
  'AddressFamily inet7',
  'VerifyHostKeyDNS maybe',
  'HostName %x',
  '"Port" 3',
  "Match user 'u'",
  'Match user u\\v',
  'Include',
  'Include /nonexistent/*',
  'Tunnel perhaps',
  'RequestTTY perhaps',
  'IgnoreUnknown a b',
  'BindAddress a b',
  'Ciphers aes128-ctr, aes256-ctr',
  'Match final all',
  'Match !final',
  'Host',
  'Host # nothing',
  'Match exec true',
  'Ciphers +',
  'Ciphers aes128-ctr,arcfour',
  'MACs hmac-foo',
  'HostKeyAlgorithms SSH-RSA',
  'KexAlgorithms diffie*',
  'ProxyJump b, c',
  'ProxyJump 2001:db8::1',
  'RekeyLimit 15',
  'RekeyLimit Default',
  'AddKeysToAgent maybe',
  'AddKeysToAgent yes 1h',
  'ConnectionAttempts 0',
  'ConnectTimeout 99999w',
  'IdentityAgent $a-b',
  'LogLevel LOUD',
  'SetEnv A',
  'SendEnv A=b',
  'IPQoS foo',
  'ControlPersist soon',
  'RemoteForward foo',
  'CanonicalDomains a..b',
  'Include ""',
  '\f',
];

export function generateConfig(seed: number): GeneratedConfig {
  const random = randomNumbers(seed);
  const pick = <T>(from: readonly [T, ...T[]] | readonly T[]): T => from[random(from.length)] as T;
  const oneIn = (n: number): boolean => random(n) === 0;
  const host = () => `${pick(['Host', 'host', 'HOST'])} ${many(pick(PATTERNS), PATTERNS)}`;
  const many = (first: string, from: readonly string[]): string =>
    [first, ...Array.from({ length: random(3) }, () => pick(from))].join(' ');
  const criterion = (): string => {
    const not = oneIn(4) ? '!' : '';
    const list = (from: readonly string[]) =>
      [pick(from), ...(oneIn(3) ? [pick(from)] : [])].join(',').replaceAll('"', '');
    switch (random(12)) {
      case 0:
        return `${not}canonical`;
      case 1:
        return oneIn(3) ? `${not}final` : 'host a';
      case 2:
        return `${not}exec "${pick(['true', 'false', 'test %h = h'])}"`;
      case 3:
      case 4:
        return `${not}user ${list(USERS)}`;
      case 5:
        return `${not}localuser ${pick(['root', 'nobody-else', '*'])}`;
      case 6:
      case 7:
        return `${not}originalhost ${list(PATTERNS)}`;
      case 8:
        return `${not}Host=${list(PATTERNS)}`;
      case 9:
        return `${not}host "${list(PATTERNS)}"`;
      default:
        return `${not}host ${list(PATTERNS)}`;
    }
  };
  const match = (): string => {
    if (oneIn(4)) return `Match ${oneIn(4) ? '!' : ''}all${oneIn(5) ? ' # others' : ''}`;
    const criteria = Array.from({ length: 1 + random(3) }, criterion);
    return `Match ${criteria.join(' ')}${oneIn(12) ? ' all' : ''}`;
  };
  const line = (mayInclude: boolean): string => {
    const kind = random(200);
    if (kind < 5) return pick(MISTAKES);
    if (kind < 38) return host();
    if (kind < 62) return match();
    if (kind < 76) return mayInclude ? `Include INCLUDED(${random(2)})` : 'Port 11';
    if (kind < 100) return pick(NOISE);
    if (kind === 100) return 'CanonicalizeHostname yes';
    return `${oneIn(2) ? '  ' : ''}${pick(SETTINGS)}${oneIn(20) ? '\r' : ''}`;
  };
  const file = (length: number, mayInclude: boolean): string =>
    `${Array.from({ length }, () => line(mayInclude)).join('\n')}\n`;
  return {
    main: `${HOPS}${file(3 + random(14), true)}`,
    included: [file(1 + random(6), false), file(1 + random(6), false)],
    host: pick(HOSTS),
    user: oneIn(4) ? pick(['u', 'v']) : undefined,
    port: oneIn(6) ? 2200 : undefined,
    sshOptions: oneIn(6) ? [pick(SETTINGS).replace(/^(\w+)[ =]+/, '$1=')] : [],
  };
}
