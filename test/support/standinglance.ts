/**
 * A stand-in of Glance's images (API v2): what Terraform's `openstack_images_image_v2` needs. An
 * image is `queued` until its data have been sent, and `active` once they are here. It refuses what
 * the API reference doesn't have.
 */
import { createHash, randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import {
  type ApiAnswer,
  boolean,
  type Check,
  checkFields,
  type Fields,
  filtered,
  found,
  integer,
  listOf,
  oneOf,
  Refusal,
  text,
} from './standinrequest.ts';

const VISIBILITY = oneOf('public', 'community', 'shared', 'private');
const TAG: Check = text(1, 255);
const MAX_BODY_BYTES = 64 * 1024;

interface Image {
  readonly id: string;
  readonly name: string;
  readonly fields: Fields;
  readonly created: string;
  status: 'queued' | 'active';
  size: number | null;
  checksum: string | null;
}

const MANDATORY: Readonly<Record<string, Check>> = { name: text(1, 255) };
const OPTIONAL: Readonly<Record<string, Check>> = {
  container_format: oneOf('bare', 'ovf', 'ova', 'docker'),
  disk_format: oneOf('raw', 'qcow2', 'vmdk', 'vhd', 'iso'),
  min_disk: integer(0, 10_000),
  min_ram: integer(0, 10_000_000),
  protected: boolean,
  os_hidden: boolean,
  visibility: VISIBILITY,
  tags: listOf(TAG),
};

export class StandInGlance {
  readonly #images = new Map<string, Image>();

  /** `path` is below /v2/images. Throws Refusal. */
  async handle(
    message: IncomingMessage,
    path: readonly string[],
    query: URLSearchParams,
  ): Promise<ApiAnswer> {
    const { method = '' } = message;
    const [id, part, ...more] = path;
    if (more.length > 0) throw new Refusal(404, 'no such path');
    switch (`${method} ${part ?? (id === undefined ? 'all' : 'one')}`) {
      case 'GET all': {
        const images = filtered(this.#images.values(), query, ['id', 'name']);
        return { status: 200, body: { images: images.map(shown) } };
      }
      case 'POST all':
        return { status: 201, body: shown(this.#make(await jsonOf(message))) };
      case 'GET one':
        return { status: 200, body: shown(found(this.#images, id, 'image')) };
      case 'DELETE one':
        this.#images.delete(found(this.#images, id, 'image').id);
        return { status: 204 };
      case 'PUT file':
        await receive(message, found(this.#images, id, 'image'));
        return { status: 204 };
      default:
        throw new Refusal(501, `not in this stand-in: ${method} ${path.join('/')}`);
    }
  }

  #make(body: unknown): Image {
    checkFields(body, 'image', MANDATORY, OPTIONAL);
    const fields = body as Fields;
    const image: Image = {
      id: randomUUID(),
      name: String(fields['name']),
      fields,
      created: `${new Date().toISOString().slice(0, 19)}Z`,
      status: 'queued',
      size: null,
      checksum: null,
    };
    this.#images.set(image.id, image);
    return image;
  }
}

async function receive(message: IncomingMessage, image: Image): Promise<void> {
  if (image.status !== 'queued') throw new Refusal(409, 'the image has its data');
  if (message.headers['content-type'] !== 'application/octet-stream')
    throw new Refusal(415, `data of type ${message.headers['content-type']}`);
  const hash = createHash('md5');
  let size = 0;
  for await (const chunk of message as AsyncIterable<Buffer>) {
    hash.update(chunk);
    size += chunk.length;
  }
  Object.assign(image, { status: 'active', size, checksum: hash.digest('hex') });
}

async function jsonOf(message: IncomingMessage): Promise<unknown> {
  let body = '';
  for await (const chunk of message) {
    body += String(chunk);
    if (body.length > MAX_BODY_BYTES) throw new Refusal(413, 'too long');
  }
  try {
    return JSON.parse(body);
  } catch {
    throw new Refusal(400, 'not JSON');
  }
}

function shown({ id, fields, created, status, size, checksum }: Image): object {
  return {
    visibility: 'shared',
    protected: false,
    os_hidden: false,
    min_disk: 0,
    min_ram: 0,
    tags: [],
    ...fields,
    id,
    status,
    size,
    checksum,
    owner: 'admin',
    created_at: created,
    updated_at: created,
    file: `/v2/images/${id}/file`,
    self: `/v2/images/${id}`,
    schema: '/v2/schemas/image',
  };
}
