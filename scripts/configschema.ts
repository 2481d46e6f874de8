/** Prints the JSON schema of config.yaml, which is kept in docs/config.schema.json. */
import { configSchema } from '../src/config/profiles/schema.ts';

process.stdout.write(`${JSON.stringify(configSchema(), undefined, 2)}\n`);
