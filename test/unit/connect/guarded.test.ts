import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { describe, it } from 'node:test';
import { createGuard, guardedConnector, NotAllowedError } from '../../../src/connect/guarded.ts';
import type { Connector } from '../../../src/flow/connector.ts';
import { StreamConduit } from '../../../src/flow/streamconduit.ts';
import type { Destination } from '../../../src/net/destination.ts';
import { formatDestination } from '../../../src/net/destination.ts';
import { parsePrefix } from '../../../src/net/prefix.ts';
import { silentObserver } from '../../../src/observe/observer.ts';

const RULES = {
  prefixes: [{ prefix: parsePrefix('10.0.0.53').prefix, ports: [], text: '10.0.0.53' }],
  names: [],
};

const NAMELESS = () => [];

function linkOf(): { link: Connector; opened: string[] } {
  const opened: string[] = [];
  const link: Connector = {
    async connect(destination: Destination) {
      opened.push(formatDestination(destination));
      return new StreamConduit(new PassThrough());
    },
  };
  return { link, opened };
}

describe("the tunnel's own connections", () => {
  it('are held to the list', async () => {
    const { link, opened } = linkOf();
    const guard = createGuard({ rules: RULES, dryRun: false }, silentObserver);
    const connector = guardedConnector(link, guard, NAMELESS);
    await connector.connect({ host: '10.0.0.53', port: 53 });
    await assert.rejects(
      connector.connect({ host: 'keystone.example', port: 5000 }),
      (error) =>
        error instanceof NotAllowedError &&
        error.refusal === 'prohibited' &&
        /keystone\.example:5000/.test(error.hint ?? ''),
    );
    assert.deepEqual(opened, ['10.0.0.53:53']);
  });

  it('are learned', async () => {
    const { link, opened } = linkOf();
    const guard = createGuard({ rules: undefined, dryRun: true }, silentObserver);
    await guardedConnector(link, guard, NAMELESS).connect({ host: 'keystone.example', port: 5000 });
    assert.equal(opened.length, 1);
    assert.match(guard.learned() ?? '', /\nkeystone\.example:5000\n$/);
  });

  it('go straight to the link while there is no list', async () => {
    const { link, opened } = linkOf();
    const guard = createGuard({ rules: undefined, dryRun: false }, silentObserver);
    const guarded = guardedConnector(link, guard, NAMELESS);
    const destination = { host: '10.0.0.1', port: 80 };
    await guarded.connect(destination);
    assert.equal(opened.length, 1);
    assert.equal(guard.learned(), undefined);
    guard.setRules({ prefixes: [], names: [] });
    await assert.rejects(guarded.connect(destination), NotAllowedError);
    guard.setRules(undefined);
    await guarded.connect(destination);
    assert.equal(opened.length, 2);
  });
});
