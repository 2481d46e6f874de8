/** How clouds log in: what is sent, what a person is asked for, and which need no Keystone. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { inspect } from 'node:util';
import { TunnelError } from '../../../../src/errors/errors.ts';
import { silentObserver } from '../../../../src/observe/observer.ts';
import { authenticationBody } from '../../../../src/openstack/keystone/keystone.ts';
import type { Cloud } from '../../../../src/openstack/settings/cloud.ts';
import { loadCloud } from '../../../../src/openstack/settings/load.ts';
import { findCloudTargets } from '../../../../src/openstack/targets/targets.ts';

const directory = mkdtempSync(join(tmpdir(), 'tunnel-login-'));
after(() => rmSync(directory, { recursive: true, force: true }));

function cloud(settings: string, env: Record<string, string> = {}): Cloud {
  const path = join(directory, 'clouds.yaml');
  writeFileSync(path, `clouds:\n  one: ${settings}\n`);
  return loadCloud(
    { cloud: 'one' },
    { env: { OS_CLIENT_CONFIG_FILE: path, ...env }, directory, home: directory, site: directory },
  );
}

const AUTH = 'auth_url: "https://k.example/v3", username: u, user_domain_name: D';
const USER = { name: 'u', domain: { name: 'D' } };

/** Answers with what was asked for, and keeps the questions. */
function asker(answers: readonly string[]) {
  const questions: string[] = [];
  const ask = async (question: string): Promise<string> => {
    questions.push(question);
    return answers[questions.length - 1] ?? '';
  };
  return { questions, ask };
}

describe('the login of a cloud', () => {
  it('by a one-time code asks for it, once', async () => {
    const { questions, ask } = asker(['123456']);
    const found = cloud(`{auth_type: v3totp, auth: {${AUTH}, project_id: p}}`);
    assert.deepEqual(await authenticationBody(found.authentication(), ask), {
      auth: {
        identity: { methods: ['totp'], totp: { user: { ...USER, passcode: '123456' } } },
        scope: { project: { id: 'p' } },
      },
    });
    assert.deepEqual(questions, ['TOTP passcode for the cloud one: ']);
  });

  it('by several factors asks for those that are missing, each once', async () => {
    const methods = 'auth_type: v3multifactor, auth_methods: [v3password, v3totp]';
    const both = asker(['hunter2', '123456']);
    const { auth } = (await authenticationBody(
      cloud(`{${methods}, auth: {${AUTH}}}`).authentication(),
      both.ask,
    )) as { auth: { identity: object } };
    assert.deepEqual(auth.identity, {
      methods: ['password', 'totp'],
      password: { user: { ...USER, password: 'hunter2' } },
      totp: { user: { ...USER, passcode: '123456' } },
    });
    assert.equal(both.questions.length, 2);

    const code = asker(['123456']);
    const known = cloud(`{${methods}, auth: {${AUTH}, password: 0123}}`);
    await authenticationBody(known.authentication(), code.ask);
    assert.deepEqual(code.questions, ['TOTP passcode for the cloud one: ']);
  });

  it('asks for nothing that a file or a variable has', async () => {
    const { questions, ask } = asker([]);
    const inFile = cloud(`{auth_type: v3totp, passcode: 012345, auth: {${AUTH}}}`);
    const inVariable = cloud(`{auth_type: v3totp, auth: {${AUTH}}}`, { OS_PASSCODE: '012345' });
    const bodies = [inFile, inVariable].map((it) => authenticationBody(it.authentication(), ask));
    const [ofFile, ofVariable] = (await Promise.all(bodies)).map((it) => JSON.stringify(it));
    // In the file it is an octal number, as it is for openstacksdk.
    assert.match(ofFile ?? '', /"passcode":"5349"/);
    assert.match(ofVariable ?? '', /"passcode":"012345"/);
    assert.deepEqual(questions, []);
  });

  for (const [what, answers] of [
    ['nobody can be asked', undefined],
    ['nothing is answered', ['']],
  ] as const) {
    it(`says what is missing if ${what}`, async () => {
      const found = cloud(`{auth: {${AUTH}}}`);
      const ask = answers === undefined ? undefined : asker(answers).ask;
      await assert.rejects(authenticationBody(found.authentication(), ask), (error) => {
        assert.ok(error instanceof TunnelError);
        assert.equal(error.code, 'openstack-credentials');
        assert.match(error.message, /no password/);
        assert.match(error.hint ?? '', /secure\.yaml.*OS_PASSWORD/);
        return true;
      });
    });
  }

  it('refuses factors that it does not know, and a trust beside a project', () => {
    const unknown = cloud(
      `{auth_type: v3multifactor, auth_methods: [v3oidcpassword], auth: {${AUTH}}}`,
    );
    assert.throws(() => unknown.authentication(), { code: 'openstack-auth-type' });
    const two = cloud(`{auth: {${AUTH}, password: p, project_id: p, trust_id: t}}`);
    assert.throws(() => two.authentication(), { code: 'openstack-credentials' });
  });

  it('shows no answer by accident', async () => {
    const { method } = cloud(`{auth: {${AUTH}, password: hunter2}}`).authentication();
    assert.doesNotMatch(inspect(method, { depth: 9 }), /hunter2/);
  });

  for (const [type, rest] of [
    ['none', ''],
    ['http_basic', ', username: u, password: p'],
    ['admin_token', ', token: t'],
    ['token_endpoint', ', token: t'],
  ] as const) {
    it(`asks no Keystone with auth_type ${type}`, async () => {
      const found = cloud(
        `{auth_type: ${type}, volume_endpoint_override: "https://v.example:8776/v3", auth: {endpoint: "https://ironic.example:6385"${rest}}}`,
      );
      for (const catalog of ['auto', 'refresh', 'off'] as const) {
        const { targets, endpoints, age } = await findCloudTargets({
          cloud: found,
          catalog,
          findLinks: true,
          connect: () => Promise.reject(new Error('somebody is asked')),
          cacheDirectory: directory,
          env: {},
          observer: silentObserver,
        });
        assert.deepEqual(
          targets.map(({ host, port }) => `${host}:${port}`),
          ['ironic.example:6385', 'v.example:8776'],
        );
        assert.deepEqual(
          endpoints.map(({ origin }) => origin),
          ['endpoint', 'override'],
        );
        assert.equal(age, undefined);
      }
    });
  }

  it('needs no endpoint of its own if a service has one', async () => {
    const found = cloud('{auth_type: none, baremetal_endpoint_override: "https://i.example:6385"}');
    assert.equal(found.withoutKeystone?.endpoint, undefined);
    assert.equal(found.authUrl, undefined);
  });
});
