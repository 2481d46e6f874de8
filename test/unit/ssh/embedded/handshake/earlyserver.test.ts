/**
 * A server with a wrong or unknown host key that doesn't wait for the verdict: right behind its new
 * keys it says that we are logged in, and confirms a channel. It must get nothing.
 */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Connection } from 'ssh2';
import { silentObserver } from '../../../../../src/observe/observer.ts';
import { Authenticator } from '../../../../../src/ssh/embedded/auth/authenticator.ts';
import { dialSsh2 } from '../../../../../src/ssh/embedded/handshake/dial.ts';
import { createHostKeyVerifier } from '../../../../../src/ssh/hostkeys/verifier.ts';
import {
  Answers,
  authenticationSettings,
  hostKeySettings,
  testSettings,
} from '../../../../support/settings.ts';
import ssh2 from '../../../../support/ssh2.ts';

const NEWKEYS = 21;
const KEX_REPLY = 31;
const CIPHERS = ['aes128-gcm@openssh.com', 'chacha20-poly1305@openssh.com', 'aes128-ctr'];
const LATE_MS = 300;

const CONFIRMATION = Buffer.from([91, 0, 0, 0, 0, 0, 0, 0, 7, 0, 16, 0, 0, 0, 0, 128, 0]);
const EARLY: Readonly<Record<string, readonly Buffer[]>> = {
  'a login': [Buffer.from([52])],
  'a login and a channel': [Buffer.from([52]), CONFIRMATION],
  'a channel': [CONFIRMATION],
  'another key exchange': [Buffer.concat([Buffer.from([20]), Buffer.alloc(60)])],
  'a service': [Buffer.from([6, 0, 0, 0, 1, 97])],
};

/** What is used of the server's protocol object. */
interface Peer {
  readonly _protocol: {
    readonly _cipher: { allocPacket(length: number): Buffer; encrypt(packet: Buffer): void };
    readonly _kex: { finish(): void };
  };
  readonly _sock: {
    cork(): void;
    uncork(): void;
    removeAllListeners(name: string): void;
    on(name: 'data', listener: (bytes: Buffer) => void): void;
  };
}

const pem = (): string =>
  generateKeyPairSync('rsa', { modulusLength: 2048 })
    .privateKey.export({ type: 'pkcs1', format: 'pem' })
    .toString();
const [own, expected] = [pem(), pem()];
const directory = mkdtempSync(join(tmpdir(), 'tunnel-early-'));
after(() => rmSync(directory, { recursive: true }));

/** `together`: all of it is in one write. `said` gets what the client says from then on. */
function hasten(
  connection: Connection,
  payloads: readonly Buffer[],
  together: boolean,
  said: Buffer[],
): void {
  const { _protocol: protocol, _sock: socket } = connection as unknown as Peer;
  const cipher = protocol._cipher;
  const encrypt = cipher.encrypt.bind(cipher);
  connection.on('error', () => {
    // Cut.
  });
  cipher.encrypt = (packet) => {
    const type = packet[5];
    if (type === KEX_REPLY && together) {
      socket.cork();
      setTimeout(() => socket.uncork(), 2);
    }
    encrypt(packet);
    if (type !== NEWKEYS) return;
    process.nextTick(() => {
      // It doesn't wait for our new keys either.
      socket.removeAllListeners('data');
      socket.on('data', (bytes) => said.push(bytes));
      protocol._kex.finish();
      for (const payload of payloads) {
        const early = protocol._cipher.allocPacket(payload.length);
        payload.copy(early, 5);
        protocol._cipher.encrypt(early);
      }
    });
  };
}

describe('a server that goes on before its host key has been accepted', { timeout: 60_000 }, () => {
  for (const cipher of CIPHERS)
    for (const [what, payloads] of Object.entries(EARLY))
      for (const together of [true, false])
        for (const strict of ['yes', 'ask'] as const)
          it(`${cipher}, ${what}${together ? ' in one write' : ''}, key ${strict === 'ask' ? 'asked about' : 'changed'}`, async () => {
            const algorithms = { cipher: [cipher as 'aes128-ctr'] };
            const server = new ssh2.Server({ hostKeys: [own], algorithms }, () => {});
            const said: Buffer[] = [];
            server.on('connection', (connection) => hasten(connection, payloads, together, said));
            server.listen(0, '127.0.0.1');
            await once(server, 'listening');
            const { port } = server.address() as AddressInfo;
            const key = ssh2.utils.parseKey(expected);
            assert.ok(!(key instanceof Error) && !Array.isArray(key));
            const known = join(directory, `known-${port}`);
            const line = `[jump.test]:${port} ssh-rsa ${key.getPublicSSH().toString('base64')}\n`;
            writeFileSync(known, strict === 'ask' ? '' : line);
            const prompter = {
              canAsk: () => true,
              confirm: async () => {
                await delay(LATE_MS);
                return false;
              },
            };
            const verifier = createHostKeyVerifier(
              hostKeySettings({ userFiles: [known], strict }),
              {
                prompter: prompter as never,
                observer: silentObserver,
              },
            );
            const wanted = {
              kex: undefined,
              ciphers: [cipher],
              macs: undefined,
              hostKeys: undefined,
            };
            const settings = testSettings({
              hostName: 'jump.test',
              port,
              user: 'me',
              algorithms: wanted,
            });
            const dialling = dialSsh2({
              jumpHosts: [{ settings, addresses: [{ host: '127.0.0.1', port }] }],
              access: async () => ({
                hostKeys: verifier,
                authenticator: await Authenticator.load({
                  settings: authenticationSettings([], {}),
                  home: directory,
                  prompter: new Answers(),
                  observer: silentObserver,
                }),
              }),
              observer: silentObserver,
            });
            try {
              await assert.rejects(dialling, {
                code: /^host-key-(skipped|changed)$|^auth-cancelled$/,
              });
              assert.doesNotMatch(Buffer.concat(said).toString('latin1'), /ssh-userauth|tcpip/);
            } finally {
              server.close();
            }
          });
});
