/** Names of the tunnel that /etc/hosts has as well. */
import assert from 'node:assert/strict';
import { hostname } from 'node:os';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { HostsFileWatch, pastTunnel } from '../../../src/session/hostsfile.ts';
import { parseHosts } from '../../../src/system/resolver/hosts.ts';
import { MemoryMachine } from '../../support/memorymachine.ts';

const HOSTS = `127.0.1.1 me.corp.example me
192.0.2.7 api.example.com
10.1.2.3 inside.corp.example
10.9.9.9 left.corp.example
192.0.2.8 www.corp.example deep.www.corp.example
192.0.2.9 not.corp.example corp.example other.example
`;

function rules(targets: readonly string[], exclusions: readonly string[] = []) {
  return MemoryMachine.configuration(targets, { exclude: exclusions });
}

describe('pastTunnel', () => {
  const found = (...args: Parameters<typeof rules>) =>
    pastTunnel(parseHosts(HOSTS), rules(...args), 'me').map(({ name }) => name);

  it('finds names that are targets, and those below', () => {
    assert.deepEqual(found(['api.example.com']), ['api.example.com']);
    assert.deepEqual(found(['*.corp.example'], ['not.corp.example']), [
      'inside.corp.example',
      'left.corp.example',
      'www.corp.example',
      'deep.www.corp.example',
    ]);
  });

  it('not those whose address is captured', () => {
    assert.deepEqual(found(['*.corp.example', '10.0.0.0/8', '192.0.2.0/24'], ['10.9.9.9']), [
      'left.corp.example',
    ]);
  });

  it('nor anything without such targets', () => {
    assert.deepEqual(found(['10.0.0.0/8']), []);
  });
});

describe('HostsFileWatch', () => {
  it('says what systemd-resolved finds in the file, where programs ask that', async () => {
    for (const [nsswitch, asksResolved, expected] of [
      ['hosts: files dns', false, []],
      ['hosts: files resolve dns', true, ['www.example.com']],
      ['hosts: dns', true, ['www.example.com']],
    ] as const) {
      const machine = new MemoryMachine();
      machine.hostsText = '192.0.2.7 www.example.com.\n';
      Object.assign(machine, { nsswitchText: `${nsswitch}\n`, asksResolved });
      const said: string[] = [];
      const observer = {
        log: (_level: string, message: string) => void said.push(message),
        count: () => {},
      };
      const watch = new HostsFileWatch(rules(['*.example.com']), machine, observer);
      await watch.start();
      const named = said.map((message) => /has (\S+)/.exec(message)?.[1]);
      assert.deepEqual(named, expected, nsswitch);
      watch.close();
    }
  });

  it('says each name once: at the start, and when the file has changed', async () => {
    const machine = new MemoryMachine();
    const said: string[] = [];
    const counts: number[] = [];
    const observer = {
      log: (_level: string, message: string) => void said.push(message),
      count: (_name: string, by = 1) => void counts.push(by),
    };
    machine.hostsText = '192.0.2.7 api.example.com\n';
    const watch = new HostsFileWatch(rules(['*.example.com']), machine, observer);
    await watch.start();
    assert.equal(said.length, 1);
    assert.match(
      said[0] ?? '',
      /\/etc\/hosts has api\.example\.com \(192\.0\.2\.7\).*past the tunnel/,
    );
    machine.hostsText += `192.0.2.8 b.example.com\n127.0.1.1 ${hostname()}.example.com\n`;
    machine.hostsChanged();
    machine.hostsChanged();
    for (let n = 0; n < 10; n++) await turn();
    assert.equal(said.length, 2);
    assert.match(said[1] ?? '', /has b\.example\.com \(192\.0\.2\.8\):/);
    assert.deepEqual(counts, [1, 1]);
    watch.close();
    assert.ok(!machine.standing.has('watch of /etc/hosts'));
    machine.hostsText += '192.0.2.9 c.example.com\n';
    machine.hostsChanged();
    for (let n = 0; n < 10; n++) await turn();
    assert.equal(said.length, 2);
  });
});
