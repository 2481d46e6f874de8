/**
 * SSH servers other than OpenSSH as jump hosts of `tunnel proxy`: what they say when they refuse,
 * how it is told, half-closes, 100 MB each way, 200 connections at once, and a restart. No session
 * channel is opened at any.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { SOCKS5_REPLIES } from '../../src/capture/proxy/answers.ts';
import { serverKind } from '../../src/ssh/servers.ts';
import { API1, Port } from '../support/addresses.ts';
import { labUnavailable } from '../support/lab.ts';
import type { OpenAnswer } from '../support/openwords.ts';
import { ServerLab, saysSession } from '../support/serverlab.ts';
import { CASES, type Case, SERVER_WORDS, type Words } from '../support/serverwords.ts';
import { JUMP_SERVERS, type JumpServer, type SshServer } from '../support/sshservers.ts';

const LARGE = 100_000_000;
const MANY = 200;
const SMALL = 2_000;
const DOWN_MS = 500;
/** A connect to a silent destination has begun, and ends SYN_RETRIES later (serverlab.ts): 7 s. */
const SILENT_SINCE_MS = 1_000;
const PROMPT_MS = 4_000;
const AT_A_TIME = 3;
/** How these are called in src/ssh/servers.ts, by their names here. */
const NAMES: Readonly<Record<string, string>> = {
  dropbear: 'dropbear',
  asyncssh: 'AsyncSSH',
  paramiko: 'paramiko',
  ssh2: 'ssh2 (Node)',
  xcrypto: 'golang.org/x/crypto/ssh',
  gliderlabs: 'golang.org/x/crypto/ssh',
  wish: 'charmbracelet/wish or OpenSSH',
  mina: 'Apache MINA SSHD',
  russh: 'russh',
  conch: 'Twisted Conch',
  erlang: "Erlang's ssh",
  tinyssh: 'tinyssh',
};

const cases = Object.keys(CASES) as Case[];
const pairs = cases.map((name) => CASES[name]);

function assertSaid(name: Case, answer: OpenAnswer | undefined, words: Words | undefined): void {
  if (answer === undefined || words === undefined || 'open' in answer) {
    assert.deepEqual(answer, words === undefined ? { open: true } : words, name);
    return;
  }
  assert.equal(answer.reason, words.reason, `${name}: ${answer.text}`);
  const pattern = words.text.replace(/[^\w\s#]/g, '\\$&').replace(/#/g, '\\d+');
  assert.match(answer.text, new RegExp(`^${pattern}$`), name);
}

function told(words: Words | undefined): string {
  return words === undefined ? 'open' : `socks ${SOCKS5_REPLIES[words.refusal]}`;
}

function suite(kind: JumpServer, labOf: () => ServerLab): void {
  let lab: ServerLab;
  let server: SshServer;
  let way: string;
  const words = SERVER_WORDS[kind.name] ?? {};

  before(async () => {
    lab = labOf();
    server = await lab.start(kind);
    way = await lab.proxy(server, kind.lacksStrict ? 'openssh' : 'auto');
  });
  after(() => server?.kill());

  if (kind.lacksStrict)
    it('is refused by the embedded client, which says why', async (t) => {
      const { identification } = await lab.words(server, []);
      if (!kind.lacksStrict?.test(identification)) return t.skip(`${identification} has it`);
      await assert.rejects(lab.proxy(server), /lacks strict key exchange.*CVE-2023-48795/);
    });

  it('is known by its identification, and its words are those in the table', async () => {
    const { identification, answers } = await lab.words(server, pairs);
    assert.equal(serverKind(identification)?.name, NAMES[kind.name], identification);
    cases.forEach((name, at) => void assertSaid(name, answers[at], words[name]));
  });

  it('has its refusals told as what they are', async () => {
    const outcomes = await lab.carry<string[]>(way, ['opens', ...pairs.flat()]);
    assert.deepEqual(
      Object.fromEntries(cases.map((name, at) => [name, outcomes[at]])),
      Object.fromEntries(cases.map((name) => [name, told(words[name])])),
    );
  });

  if (kind.halfCloses !== undefined) {
    it('connects while another destination is silent, or does not', async () => {
      const silent = lab.carry<string[]>(way, ['opens', ...CASES.silent]);
      await delay(SILENT_SINCE_MS);
      const begin = performance.now();
      assert.deepEqual(await lab.carry(way, ['opens', API1, Port.http]), ['open']);
      const waited = performance.now() - begin > PROMPT_MS;
      assert.equal(waited, kind.oneAtATime ?? false);
      assert.deepEqual(await silent, [told(words.silent)]);
    });

    it('half-closes', async () => {
      assert.deepEqual(await lab.carry(way, ['halves', API1]), kind.halfCloses);
    });

    it('carries 200 connections at once', async () => {
      const result = await lab.carry(way, ['many', API1, MANY, SMALL]);
      assert.deepEqual(result, { open: MANY, right: MANY });
    });

    it('carries 100 MB each way', async () => {
      assert.deepEqual(await lab.carry(way, ['bytes', API1, LARGE]), { down: true, up: true });
    });
  }

  it('was asked for no session', { skip: kind.hidesSessions && 'it does not say' }, async () => {
    assert.ok(!saysSession(server), server.output);
    // It would have said so.
    await lab.runSession(server);
    assert.ok(saysSession(server), server.output);
  });

  it('comes back after a restart', async () => {
    await server.kill();
    const opened = lab.carry<string[]>(way, ['opens', API1, Port.http]);
    await delay(DOWN_MS);
    await server.start();
    assert.deepEqual(await opened, [kind.halfCloses === undefined ? told(words.closed) : 'open']);
  });
}

describe('other SSH servers', {
  skip: labUnavailable(),
  timeout: 500_000,
  concurrency: AT_A_TIME,
}, () => {
  let lab: ServerLab;
  before(async () => {
    lab = await ServerLab.create(JUMP_SERVERS);
  });
  after(() => lab?.close());

  for (const kind of JUMP_SERVERS)
    describe(kind.name, { skip: kind.missing(), concurrency: 1 }, () => suite(kind, () => lab));
});
