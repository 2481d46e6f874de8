/** Keys as seeds. The secret one is zero. */
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { wireString, wireUint32 } from '../../../src/ssh/keys/wire.ts';

export const KEY =
  'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPejxZZ7GtJZ7oEgb2YgRSc+K/b5IDmTNVfYUpXTrBfW test';

export const CERTIFICATE = [
  'ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIEz',
  '1vncrvkWqDMDFp3gKRdutBpp4iNW/98T2CjzxeC3nAAAAIPejxZZ7GtJZ7oEgb2YgRSc+K/b5IDmTNVfYUpXTrBf',
  'WAAAAAAAAAAAAAAABAAAABHRlc3QAAAAIAAAABHVzZXIAAAAAaVW5AAAAAABw29iAAAAAAAAAAIIAAAAVcGVybWl',
  '0LVgxMS1mb3J3YXJkaW5nAAAAAAAAABdwZXJtaXQtYWdlbnQtZm9yd2FyZGluZwAAAAAAAAAWcGVybWl0LXBvcnQ',
  'tZm9yd2FyZGluZwAAAAAAAAAKcGVybWl0LXB0eQAAAAAAAAAOcGVybWl0LXVzZXItcmMAAAAAAAAAAAAAADMAAAA',
  'Lc3NoLWVkMjU1MTkAAAAg39dH3dKz/rqc7IwrsVtsVBqF7NyL0oEDZ4nNgvglIqUAAABTAAAAC3NzaC1lZDI1NTE',
  '5AAAAQPk7WZcNvAbebTpDVoj8cjSHYy43jBW+yFehLHa74Ay60GCZFjF10HiY+iUR+AWdyBfI+Hkck8BkOPF8jbX',
  '9fwA= test',
].join('');

const secret = createPrivateKey({
  format: 'der',
  type: 'pkcs8',
  // RFC 8410 §7: an Ed25519 key, of 32 zeros.
  key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32)]),
});
const point = createPublicKey(secret).export({ format: 'der', type: 'spki' }).subarray(-32);
const publicPart = Buffer.concat([wireString('ssh-ed25519'), wireString(point)]);

/** openssh/PROTOCOL.key, not encrypted. */
const body = Buffer.concat([
  Buffer.from('openssh-key-v1\0', 'latin1'),
  wireString('none'),
  wireString('none'),
  wireString(''),
  wireUint32(1),
  wireString(publicPart),
  wireString(
    Buffer.concat([
      Buffer.alloc(8),
      publicPart,
      wireString(Buffer.concat([Buffer.alloc(32), point])),
      wireString('test'),
      Buffer.of(1, 2, 3),
    ]),
  ),
]);

export const PRIVATE_KEY = [
  '-----BEGIN OPENSSH PRIVATE KEY-----',
  body.toString('base64'),
  '-----END OPENSSH PRIVATE KEY-----',
  '',
].join('\n');

export const PEM_KEY = String(secret.export({ format: 'pem', type: 'pkcs8' }));
