// Signing in, making an account, and what a page does with who is not signed in.
import { describe, expect, test } from "vitest";

import { HERE, PASSWORD, Stage } from "../support/stage.ts";

describe.skipIf(!HERE)("signing in", () => {
  const stage = Stage.here();

  test("an account is made, and one comes to where one wanted to go", async () => {
    const page = await stage.open(await stage.profile(), "/chat#somewhere");
    await page.waitForURL("**/sign-in?next=*");
    await page.getByRole("button", { name: "Make an account" }).click();
    await page.getByLabel("Name").fill("newcomer");
    await page.getByLabel("Password").fill(PASSWORD);
    await page.getByRole("button", { name: "Make an account" }).click();
    await page.waitForURL("**/chat#somewhere");
    await page.getByText("newcomer").waitFor();
  });

  test("a wrong password is said, and so is a name that is taken", async () => {
    stage.rough = true;
    await stage.person("taken");
    const page = await stage.open(await stage.profile(), "/sign-in");
    await page.getByLabel("Name").fill("taken");
    await page.getByLabel("Password").fill("not the password");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("That is not a name and password that belong together.").waitFor();
    await page.getByRole("button", { name: "Make an account" }).click();
    await page.getByRole("button", { name: "Make an account" }).click();
    await page.getByRole("alert").filter({ hasText: "taken" }).waitFor();
  });

  test("the way back never leads to another site", async () => {
    const page = await stage.open(await stage.person("careful"), "/sign-in?next=https://example.org/evil");
    expect(await page.getByRole("link", { name: "Go on" }).getAttribute("href")).toBe("/");
    await page.goto("/sign-in?next=//example.org/");
    expect(await page.getByRole("link", { name: "Go on" }).getAttribute("href")).toBe("/");
    await page.goto("/sign-in?next=javascript:alert(1)");
    expect(await page.getByRole("link", { name: "Go on" }).getAttribute("href")).toBe("/");
  });

  test("a page that is opened while the server is away waits for it", async () => {
    stage.rough = true;
    const context = await stage.person("patient");
    const page = await context.newPage();
    await page.route("**/pages.json", (route) => route.abort("connectionrefused"));
    await page.goto("/chat");
    await page.getByText("The server cannot be reached. Trying again").waitFor();
    await page.unroute("**/pages.json");
    await page.locator('#state[data-state="good"]').waitFor();
    expect(await page.locator("#notice").isVisible()).toBe(false);
  });

  test("where somebody else signs in, a page of who was there before shows nothing as theirs", async () => {
    const context = await stage.person("before");
    const page = await stage.open(context, "/chat");
    await page.locator('#state[data-state="good"]').waitFor();
    await context.request.post("/api/v1/auth/register", { data: { username: "after", password: PASSWORD } });
    await context.request.post("/api/v1/auth/login", { data: { username: "after", password: PASSWORD } });
    await page.getByText("You are signed out.").waitFor();
  });
});
