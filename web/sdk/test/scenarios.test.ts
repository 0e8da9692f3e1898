/** The scenarios, with the real server and with the small one: so the scripts of the other tests are not made up. */

import { describe } from "vitest";

import { scenarios } from "./scenarios.js";
import { Server } from "./server.js";
import { Small } from "./small.js";

describe("with the real server", () => scenarios(() => Server.start({}, '[kinds.note]\njoin = "granted"\npublish = "members"\n')));
describe("with a small one", () => scenarios(() => Small.start()));
