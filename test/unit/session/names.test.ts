import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { describe, it } from 'node:test';
import { createGuard, guardedConnector } from '../../../src/connect/guarded.ts';
import { NameBook } from '../../../src/dns/upstream/known.ts';
import { ConnectError, type Connector } from '../../../src/flow/connector.ts';
import { StreamConduit } from '../../../src/flow/streamconduit.ts';
import { formatDestination } from '../../../src/net/destination.ts';
import { parseNamePattern } from '../../../src/net/name.ts';
import { parsePrefix } from '../../../src/net/prefix.ts';
import { silentObserver } from '../../../src/observe/observer.ts';
import { createNameOrAddress } from '../../../src/session/names.ts';

const WWW = 'www.corp.example';
const EVIL = 'evil.corp.example';
const ADDRESS = '10.77.0.11';

interface World {
  /** One of `allow`, written as it is in the file; undefined: no list. */
  readonly allow: readonly string[] | undefined;
  /** What the jump host permits. */
  readonly permitted: readonly string[];
  /** What a resolver behind the jump host has answered for ADDRESS. */
  readonly behind?: readonly string[];
  readonly dryRun?: boolean;
}

/** Targets: `*.corp.example` and 10.77.0.0/16. Every name has ADDRESS, whoever is asked. */
function worldOf({ allow, permitted, behind = [], dryRun = false }: World) {
  const asked: string[] = [];
  const link: Connector = {
    async connect(destination) {
      const text = formatDestination(destination);
      asked.push(text);
      if (!permitted.includes(text)) throw new ConnectError('prohibited', `${text}: prohibited`);
      return new StreamConduit(new PassThrough());
    },
  };
  const isAddress = (text: string) => /^[\d./]+$/.test(text);
  const rules = allow && {
    prefixes: allow
      .filter(isAddress)
      .map((text) => ({ prefix: parsePrefix(text).prefix, ports: [], text })),
    names: allow
      .filter((text) => !isAddress(text))
      .map((text) => ({ pattern: parseNamePattern(text), ports: [], text })),
  };
  const guard = createGuard({ rules, dryRun }, silentObserver);
  const book = new NameBook({ observer: silentObserver });
  for (const name of behind.toReversed()) book.behind.add(name, { address: ADDRESS, ttl: 60 });
  const forms = createNameOrAddress(
    {
      configuration: {
        targets: [{ ...parsePrefix('10.77.0.0/16'), ports: [], text: '10.77.0.0/16' }],
        nameTargets: [
          { pattern: parseNamePattern('*.corp.example'), ports: [], text: '*.corp.example' },
        ],
        exclusions: [],
        nameExclusions: [],
      },
      connector: guardedConnector(link, guard, (address) => book.namesOf(address)),
      guard,
      book,
      observer: silentObserver,
    },
    { lookup: async () => [ADDRESS] },
  );
  return { asked, guard, connect: (host: string) => forms.connect({ host, port: 443 }) };
}

const at = (...hosts: readonly string[]) => hosts.map((host) => `${host}:443`);

describe('the other form of a destination', () => {
  it('is opened where there is no list', async () => {
    const { asked, connect } = worldOf({ allow: undefined, permitted: at(ADDRESS) });
    await connect(WWW);
    assert.deepEqual(asked, at(WWW, ADDRESS));
  });

  it('is not opened at an address that no rule permits, whoever has given it for a name that one does', async () => {
    const { asked, connect } = worldOf({ allow: [WWW], permitted: at(ADDRESS) });
    await assert.rejects(connect(WWW), {
      refusal: 'prohibited',
      message: `${WWW}:443: prohibited`,
    });
    assert.deepEqual(asked, at(WWW));
  });

  it('is opened at one that a resolver behind the jump host has given for the name, or that has a rule', async () => {
    for (const world of [{ allow: [WWW], behind: [WWW] }, { allow: [WWW, '10.77.0.0/16'] }]) {
      const { asked, connect } = worldOf({ ...world, permitted: at(ADDRESS) });
      await connect(WWW);
      assert.deepEqual(asked, at(WWW, ADDRESS));
    }
  });

  it('is not opened by a name that no rule permits, as which an address is known', async () => {
    const { asked, connect } = worldOf({
      allow: [ADDRESS],
      permitted: at(WWW, EVIL),
      behind: [EVIL, WWW],
    });
    await assert.rejects(connect(ADDRESS), { message: `${ADDRESS}:443: prohibited` });
    assert.deepEqual(asked, at(ADDRESS));
  });

  it('is opened by the name that a rule permits of several', async () => {
    const { asked, connect } = worldOf({
      allow: [WWW],
      permitted: at(WWW, EVIL),
      behind: [EVIL, WWW],
    });
    await connect(ADDRESS);
    assert.deepEqual(asked, at(ADDRESS, WWW));
  });

  it('is learned by a dry run, as far as it was needed', async () => {
    const { connect, guard } = worldOf({ allow: undefined, permitted: at(ADDRESS), dryRun: true });
    await connect(WWW);
    assert.match(guard.learned() ?? '', new RegExp(`\n${WWW}:443\n${ADDRESS}:443\n$`));
  });
});
