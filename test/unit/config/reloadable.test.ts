import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EXEC_GROUPS } from '../../../src/config/execoptions.ts';
import { buildConfiguration, CONNECT_GROUPS, PROXY_GROUPS } from '../../../src/config/options.ts';
import { changesBetween, longName, RELOAD, reloaded } from '../../../src/config/reloadable.ts';
import { UsageError } from '../../../src/errors/errors.ts';
import { given, type OptionTexts } from '../../support/options.ts';

function built(targets: readonly string[], options: OptionTexts = {}) {
  return buildConfiguration(given({ remote: ['user@jump.example'], ...options }, targets));
}

describe('options at a reload', () => {
  const names = new Set(
    [...CONNECT_GROUPS, ...PROXY_GROUPS, ...EXEC_GROUPS].flatMap(({ options }) =>
      Object.values(options).map(longName),
    ),
  );

  it('are all in the table, which has no others', () => {
    assert.deepEqual([...RELOAD.keys()].sort(), [...names].sort());
  });

  it('are applied, or named', () => {
    const first = built(['10.0.0.0/8']);
    const read = built(['10.0.0.0/8', '192.168.0.0/16', 'api.example.com'], {
      exclude: ['10.9.0.0/16'],
      socks: '127.0.0.1:1080',
      keepalive: '20',
      verbose: 1,
    });
    const { configuration, restart } = reloaded(first, read, true);
    assert.deepEqual(restart, ['--keepalive', '--socks']);
    assert.equal(configuration.ssh, first.ssh);
    assert.equal(configuration.proxies, undefined);
    assert.equal(configuration.logLevel, 'info');
    assert.equal(
      changesBetween(first, configuration),
      '2 targets added; 1 exclusion added; messages from the level info on',
    );
    assert.equal(
      changesBetween(configuration, first),
      '2 targets removed; 1 exclusion removed; messages from the level notice on',
    );
    assert.equal(
      changesBetween(first, reloaded(first, built(['10/8']), true).configuration),
      '1 target added, 1 removed',
    );
    assert.equal(changesBetween(first, first), undefined);
  });

  it('name the command that a profile is for by now', () => {
    const line = given({ remote: ['user@jump.example'], socks: '1080' }, ['10.0.0.0/8']);
    const [proxy, connect] = [buildConfiguration(line, 'proxy'), buildConfiguration(line)];
    assert.deepEqual(reloaded(proxy, connect, true).restart, ['the command "connect"']);
    assert.deepEqual(reloaded(proxy, buildConfiguration(line, 'proxy'), true).restart, []);
  });

  it('name a resolver behind the jump host, without which no domain is added', () => {
    const read = built(['10.0.0.0/8'], { dnsServer: ['10.0.0.53'], domain: ['corp.example'] });
    const late = reloaded(built(['10.0.0.0/8']), read, true);
    assert.deepEqual(late.restart, ['--dns-server']);
    assert.deepEqual(late.configuration.dns.domains, []);
    const first = built(['10.0.0.0/8'], { dnsServer: ['10.0.0.53'] });
    assert.deepEqual(reloaded(first, read, true).configuration.dns.domains, ['corp.example']);
  });

  it('keep what --fail-closed has promised', () => {
    const first = built(['10.0.0.0/8'], { failClosed: true });
    const read = built(['10.0.0.0/8'], { exclude: ['10.9.0.0/16:443'] });
    assert.throws(() => reloaded(first, read, true), UsageError);
  });
});
