import { TRANSPORT_ROWS } from '../support/hostile/rows/transport.ts';
import { describeRows } from '../support/hostile/suite.ts';

describeRows('what may come at any time', TRANSPORT_ROWS);
